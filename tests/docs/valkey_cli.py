"""As much of `valkey-cli -p PORT COMMAND …` as docs/operations.md needs."""

import sys

import redis

_, port, *command = sys.argv[1:]
try:
    answer = redis.Redis(port=int(port), decode_responses=True).execute_command(*command)
except redis.RedisError as error:
    sys.exit(str(error))
if isinstance(answer, dict):
    answer = "\n".join(f"{name}:{value}" for name, value in answer.items())
told = {True: "PONG" if command == ["PING"] else "OK"}.get(answer, answer)
sys.stdout.write(f"{told}\n")
