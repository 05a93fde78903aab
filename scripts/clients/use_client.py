"""Uses the generated Python client against a gateway: use_client.py BASE_URL, with the client on PYTHONPATH.

Everything is asserted; nothing is said until the end.
"""

import sys
import uuid
from http import HTTPStatus

from taskweir_client import Client
from taskweir_client.api.health import get_health, get_live, get_ready
from taskweir_client.api.operations import list_operations
from taskweir_client.api.queues import get_queue
from taskweir_client.api.tasks import cancel_tasks, get_history, get_task, list_tasks, submit_batch, submit_task
from taskweir_client.models import (
    Accepted,
    BatchAnswer,
    BatchRequest,
    BatchTask,
    CancelManyRequest,
    DryRun,
    HealthAnswer,
    Priority,
    Problem,
    Queue,
    RetryRequest,
    Status,
    Task,
    TaskHistory,
    TaskList,
    TaskRequest,
    TaskRequestLabels,
)
from taskweir_client.types import Unset

run = uuid.uuid4().hex


def request(queue: str = f"py-{run[:8]}") -> TaskRequest:
    """A task with every kind of field."""
    return TaskRequest(
        type_="process",
        data={"hello": ["world", 1, None]},
        queue=queue,
        priority=Priority.HIGH,
        max_retries=3,
        retry=RetryRequest(initial_delay=0.5, multiplier=2.0, max_delay=10.0, jitter=0.1),
        timeout=60.0,
        unique_key=f"key-{run}",
        labels=TaskRequestLabels.from_dict({"run": run}),
        # Nothing takes it while it is looked at.
        delay=3600.0,
    )


def main(base: str) -> None:
    # An answer that the document does not have would raise.
    with Client(base_url=base, raise_on_unexpected_status=True) as client:
        assert get_live.sync(client=client) == "alive\n"
        assert get_ready.sync(client=client) == "ready\n"
        health = get_health.sync(client=client)
        assert isinstance(health, HealthAnswer) and health.status in {"ok", "degraded"}, health

        # Submit; again under the same key; and again under another, which its unique key refuses.
        taken = submit_task.sync_detailed(client=client, body=request(), idempotency_key=run)
        accepted = taken.parsed
        assert taken.status_code == HTTPStatus.ACCEPTED and isinstance(accepted, Accepted), taken
        assert taken.headers["location"] == f"/tasks/{accepted.id}"
        assert accepted.status is Status.SCHEDULED and accepted.priority is Priority.HIGH
        assert (accepted.type_, accepted.queue) == ("process", request().queue)
        same = submit_task.sync_detailed(client=client, body=request(), idempotency_key=run)
        assert same.status_code == HTTPStatus.OK and isinstance(same.parsed, Accepted), same
        assert same.parsed.id == accepted.id
        other = submit_task.sync_detailed(client=client, body=request(), idempotency_key=f"{run}-2")
        assert other.status_code == HTTPStatus.CONFLICT and isinstance(other.parsed, Problem), other
        assert other.parsed.existing_id == accepted.id and other.parsed.status == 409

        # Get.
        task = get_task.sync(accepted.id, client=client)
        assert isinstance(task, Task), task
        assert (task.id, task.type_, task.queue) == (accepted.id, "process", accepted.queue)
        assert task.status is Status.SCHEDULED and task.priority is Priority.HIGH and task.attempt == 0
        assert task.data == {"hello": ["world", 1, None]} and task.labels.to_dict() == {"run": run}
        assert task.timeout == 60.0 and task.max_retries == 3 and task.retry.jitter == 0.1
        assert task.unique_key == f"key-{run}" and isinstance(task.result, Unset) and isinstance(task.error, Unset)
        missing = get_task.sync_detailed("01ARZ3NDEKTSV4RRFFQ69G5FAV", client=client)
        assert missing.status_code == HTTPStatus.NOT_FOUND and isinstance(missing.parsed, Problem), missing

        # History.
        history = get_history.sync(accepted.id, client=client)
        assert isinstance(history, TaskHistory) and history.id == accepted.id and history.complete, history
        first = history.events[0]
        assert (first.version, first.position, first.status) == (1, accepted.position, Status.SCHEDULED), first
        assert "submitted" in first.type_.lower() and isinstance(first.detail, dict), first

        # List: what was just submitted is there, by its label and by its page.
        listed = list_tasks.sync(client=client, label=f"run={run}", min_position=accepted.position)
        assert isinstance(listed, TaskList) and [one.id for one in listed.tasks] == [accepted.id], listed
        assert isinstance(listed.cursor, Unset)
        page = list_tasks.sync(client=client, limit=1, priority=Priority.HIGH, type_="process")
        assert isinstance(page, TaskList) and len(page.tasks) == 1, page
        assert isinstance(list_tasks.sync(client=client, limit=501), Problem)
        queue = get_queue.sync(accepted.queue, client=client, min_position=accepted.position)
        assert isinstance(queue, Queue) and queue.name == accepted.queue and not queue.paused, queue
        assert queue.by_status["scheduled"] == 1

        # A bad submit is refused by the names of its fields.
        bad = TaskRequest(type_="no such type!", max_retries=1_001, retry=RetryRequest(initial_delay=-1.0))
        refused = submit_task.sync_detailed(client=client, body=bad)
        problem = refused.parsed
        assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY and isinstance(problem, Problem), refused
        assert refused.headers["content-type"] == "application/problem+json"
        assert (problem.type_, problem.status) == ("about:blank", 422) and problem.detail
        assert not isinstance(problem.errors, Unset)
        assert {"type", "max_retries", "retry.initial_delay"} == {error.field for error in problem.errors}
        assert all(error.message for error in problem.errors)

        # A batch, of which one is bad.
        good = BatchTask.from_dict({**request().to_dict(), "unique_key": f"batch-{run}", "idempotency_key": f"batch-{run}"})
        tasks = BatchRequest(tasks=[good, BatchTask.from_dict(bad.to_dict())])
        batch = submit_batch.sync(client=client, body=tasks)
        assert isinstance(batch, BatchAnswer) and (batch.accepted, batch.rejected) == (1, 1), batch
        assert isinstance(batch.items[0].task, Accepted) and isinstance(batch.items[1].task, Unset)
        assert (batch.items[0].status, batch.items[1].status) == (202, 422)
        again = submit_batch.sync(client=client, body=BatchRequest(tasks=[good]))
        assert isinstance(again, BatchAnswer) and again.items[0].status == 200, again
        assert not isinstance(batch.items[1].errors, Unset) and batch.items[1].errors[0].field == "type"

        # What a bulk call would do.
        position = batch.items[0].task.position
        assert isinstance(list_tasks.sync(client=client, min_position=position), TaskList)
        dry = cancel_tasks.sync(client=client, body=CancelManyRequest(label=f"run={run}", dry_run=True))
        assert isinstance(dry, DryRun) and dry.dry_run and dry.exact and dry.matching == 2, dry
        assert not isinstance(list_operations.sync(client=client), Problem)
    print(f"python: {accepted.id} submitted, read, listed and refused as documented")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
