// Whoever points at a chart is told the values at that time.
for (const figure of document.querySelectorAll("[data-chart]")) {
  const chart = JSON.parse(figure.dataset.chart);
  const svg = figure.querySelector("svg");
  const cursor = figure.querySelector(".cursor");
  const shown = figure.querySelectorAll(".legend b");
  const [left, right] = [58, svg.viewBox.baseVal.width - 12];
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const share = Math.min(Math.max((x - left) / (right - left), 0), 1);
    const at = chart.begin + share * (chart.end - chart.begin);
    const place = left + share * (right - left);
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    cursor.style.visibility = "visible";
    chart.lines.forEach(([, points], number) => {
      const near = points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));
      shown[number].textContent = near[1].toLocaleString("en", { maximumSignificantDigits: 4 });
    });
  });
  svg.addEventListener("pointerleave", () => {
    cursor.style.visibility = "hidden";
    shown.forEach((one) => (one.textContent = ""));
  });
}
