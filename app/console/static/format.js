// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const count = (value) => whole.format(value);
export function short(value) {
  if (value >= 10_000) return compact.format(value);
  return value < 10 && value % 1 ? value.toFixed(1) : whole.format(Math.round(value));
}

/** A rate: one decimal as long as it is small. */
export const rate = (value) => (value > 0 && value < 10 ? value.toFixed(1) : short(value));

/** Milliseconds with their unit; "–" for none. */
export function ms(value) {
  if (value == null) return "–";
  if (value === 0) return "0";
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 1000) return `${Math.round(value)} ms`;
  return duration(value / 1000);
}

export function duration(seconds) {
  if (seconds < 100) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

export function bytes(value) {
  return value < 1e9 ? `${Math.round(value / 1e6)} MB` : `${(value / 1e9).toFixed(1)} GB`;
}

/** A time of today as a time, another with its day. */
export function time(value) {
  if (value == null) return "–";
  const at = new Date(value);
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock.format(at) : `${day.format(at)}, ${clock.format(at)}`;
}

export const exact = (value) => new Date(value).toISOString();
export const plural = (number, one, many) => (number === 1 ? one : many);
