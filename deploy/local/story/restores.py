"""The scene of the restores: archived objects come back when they are asked for, by queue and by hand."""

import json
import time
from datetime import datetime, timezone

import screen
from cast import ASKED_BY_CLI, ASKED_BY_QUEUE
from moves import ledger_follows, nothing_is_lost
from world import REQUEST_QUEUE

RESTORE_SECS = 3
BACK_TIMEOUT_SECS = 60
ASKED = (ASKED_BY_QUEUE, ASKED_BY_CLI)


def restores(world, look, verdict):
    screen.heading("archived objects are asked for")
    screen.note(f"a restore takes hours on S3; this emulator is told to take {RESTORE_SECS} s")
    world.restores_take(RESTORE_SECS)
    # The emulator takes the time from the object's making: one that is younger would be back before it was away.
    youngest = max(look.head(thing)["LastModified"] for thing in ASKED)
    age = (datetime.now(timezone.utc) - youngest).total_seconds()
    time.sleep(max(0.0, RESTORE_SECS + 2 - age))

    by_queue = {"bucket": look.buckets[ASKED_BY_QUEUE.user], "key": ASKED_BY_QUEUE.key, "days": 3, "tier": "Bulk"}
    queue = look.sqs.get_queue_url(QueueName=REQUEST_QUEUE)["QueueUrl"]
    look.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(by_queue, ensure_ascii=False))
    screen.say(f"to the queue {REQUEST_QUEUE}: {json.dumps(by_queue, ensure_ascii=False)}")
    uri = f"s3://{look.buckets[ASKED_BY_CLI.user]}/{ASKED_BY_CLI.key}"
    screen.say(f"tierd restore '{uri}' --days 2")
    asked = world.tierd("restore", uri, "--days", "2")
    for line in (asked.stdout + asked.stderr).strip().splitlines():
        screen.note(line)
    verdict.equal("the command line takes the request (exit 0)", asked.code, 0)

    watched = watch(world, look)
    for thing in ASKED:
        steps = watched[thing]
        screen.say(f"{thing.key}: " + " → ".join(f"{what} ({at:.1f} s)" for what, at in steps))
        verdict.check(
            any(what == "restoring" for what, _ in steps), f"{thing.key} was seen being restored", f"seen: {steps}"
        )
        verdict.check(
            any(what == "asked for, and tagged so" for what, _ in steps),
            f"{thing.key} carried the tag RestoreRequested beside its own",
            f"seen: {steps}",
        )
    status = world.tierd("restore", uri, "--status")
    for line in status.stdout.strip().splitlines():
        screen.note(line)
    verdict.equal("restore --status answers (exit 0)", status.code, 0)

    after = look.things()
    screen.table(
        ["key", "asked by", "class", "tags"],
        [
            (
                thing.key,
                "queue" if thing is ASKED_BY_QUEUE else "command",
                now.storage_class,
                now.fidelity["tags"] or "",
            )
            for thing, now in after.items()
            if thing in ASKED
        ],
    )
    verdict.same_mapping(
        "both are STANDARD again",
        {thing.key: after[thing].storage_class for thing in ASKED},
        {thing.key: "STANDARD" for thing in ASKED},
    )
    nothing_is_lost(look, verdict, after)
    ledger_follows(look, verdict, after)


def watch(world, look):
    """Follows both objects until they are back, and returns what was seen of each and when."""
    started = time.monotonic()
    seen = {thing: [] for thing in ASKED}

    def see(thing, what):
        if what not in [before for before, _ in seen[thing]]:
            seen[thing].append((what, time.monotonic() - started))

    def settled():
        world.daemon_must_run()
        back = 0
        for thing in ASKED:
            head = look.head(thing)
            tags = look.tags(look.buckets[thing.user], thing.key)
            if head.get("StorageClass", "STANDARD") == "STANDARD":
                see(thing, "copied back")
                row = look.ledger().get((look.buckets[thing.user], thing.key), {})
                if "RestoreRequested" not in tags and row.get("storage_class") == "STANDARD":
                    see(thing, "tag off, ledger written")
                    back += 1
                continue
            if 'ongoing-request="true"' in head.get("Restore", ""):
                see(thing, "restoring")
            elif 'ongoing-request="false"' in head.get("Restore", ""):
                see(thing, "readable")
            if tags == {**thing.tags, "RestoreRequested": "true"}:
                see(thing, "asked for, and tagged so")
        return back == len(ASKED)

    screen.wait_for("the restores", BACK_TIMEOUT_SECS, settled)
    return seen
