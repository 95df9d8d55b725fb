"""Webhooks by Celery: a task for each recipient on a Redis list, sent with a requests session.

    BENCH_STORE=redis+socket:///… BENCH_AUDIENCES=FILE python celery_sender.py
    BENCH_STORE=redis+socket:///… celery -A celery_sender worker -c 4

The first is the producer, told what to do on standard input; the second are the workers, each with
a session of its own. Results are not kept; a task is acknowledged when it is done, since otherwise
a worker that dies loses deliveries.
"""

# What is imported here is in .venv-peers, out of pyright's sight.
# pyright: reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportFunctionMemberAccess=false

import json
import os
import sys
import time
from typing import Any

import requests
from celery import Celery
from orders import Audiences, answer, read_posts
from requests.adapters import HTTPAdapter
from webhook import signed_headers

HOSTS_MAX = 1_000  # the default of 10 would make a new connection for almost every request
DEADLINE_S = 15.0

app = Celery("sender", broker=os.environ["BENCH_STORE"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)

session = requests.Session()
session.mount("http://", HTTPAdapter(pool_connections=HOSTS_MAX))


@app.task(
    name="send",
    acks_late=True,
    autoretry_for=(requests.RequestException,),
    retry_backoff=5,
    retry_jitter=True,
    max_retries=8,
)
def send(url: str, delivery: str, payload: dict[str, Any], secret: str) -> None:
    body = json.dumps(payload).encode()
    headers = signed_headers(secret, delivery, body)
    response = session.post(url, data=body, headers=headers, timeout=DEADLINE_S)
    response.raise_for_status()


def produce() -> None:
    audiences = Audiences()
    for line in sys.stdin:
        tasks = 0
        for post in read_posts(line):
            time.sleep(post.left_s)
            for one in audiences.deliveries(post):
                send.delay(one.url, one.id, one.payload, one.secret)
                tasks += 1
        answer(tasks)


if __name__ == "__main__":
    produce()
