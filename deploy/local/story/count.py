"""The scene of the logs: CloudTrail files become counts, exactly."""

from datetime import datetime, timezone

import screen
from cast import GHOST, THINGS
from trail import Trail


def logs(look, verdict):
    screen.heading("CloudTrail tells what was used")
    trail = Trail(look.buckets, look.sts.get_caller_identity()["Arn"])
    trail.write()
    trail.put(look.s3)
    model = trail.model
    screen.say(
        f"{model.files} log files in two regions and two accounts, {model.records} records, {model.accesses} of them uses"
    )
    for line in trail.notes:
        screen.note(line)
    screen.note(
        "ListObjects, HEAD, failed calls, reads by programs, other buckets and tierd's own calls are among them"
    )
    verdict.check(model.files > 10, "there is something to count")
    return trail


def ingest(world, look, verdict, trail):
    screen.heading("tierd job ingest: the logs become counts")
    model = trail.model
    first = world.tierd("job", "ingest", "--json")
    report = first.report()
    show_report(
        report, ("files", "files_failed", "records", "records_bad", "accesses", "duplicates", "objects", "batches")
    )
    verdict.equal("a file that is cut off makes the run partial", (report.get("outcome"), first.code), ("partial", 1))
    expected = {
        "files": model.files,
        "files_failed": 1,
        "records": model.records,
        "records_bad": 0,
        "accesses": model.accesses,
        "duplicates": model.duplicates,
        "objects": len(model.uses),
    }
    verdict.same_mapping("the report says what was made up", {name: report.get(name) for name in expected}, expected)
    dropped = (report.get("reconcile") or {}).get("dropped")
    verdict.equal(f"reconcile drops the row of what is gone ({GHOST[1]})", dropped, 1)
    ledger_is_the_model(look, verdict, trail)
    again = world.tierd("job", "ingest", "--json")
    second = again.report()
    found = {name: second.get(name) for name in ("files", "files_failed", "accesses", "outcome")}
    expected = {"files": 0, "files_failed": 0, "accesses": 0, "outcome": "ok"}
    verdict.same_mapping("a second run finds nothing new", found, expected)
    verdict.equal("and ends well", again.code, 0)
    ledger_is_the_model(look, verdict, trail, "and the counts stay")


def ledger_is_the_model(look, verdict, trail, claim="the ledger is the model, row by row"):
    rows = look.ledger()
    if claim.startswith("the"):
        things = {(look.buckets[thing.user], thing.key): thing for thing in THINGS}
        screen.table(
            ["user", "key", ">count", "last used", ">days ago", "class", ">size"],
            [
                (
                    things[name].user[:13] if name in things else name[0],
                    name[1],
                    row.get("count"),
                    row.get("event_time"),
                    days_since(row.get("event_time"), trail.now),
                    row.get("storage_class"),
                    screen.size(row.get("size") or 0),
                )
                for name, row in sorted(rows.items())
            ],
        )
    expected = {}
    for thing, now in look.things().items():
        name = (look.buckets[thing.user], thing.key)
        use = trail.model.uses[name]
        expected[name] = (use.count, use.event_time, now.etag, now.storage_class, now.size)
    attributes = ("count", "event_time", "entity_tag_value", "storage_class", "size")
    found = {name: tuple(row.get(attribute) for attribute in attributes) for name, row in rows.items()}
    verdict.same_mapping(claim, found, expected)


def days_since(event_time, now):
    try:
        return (now - datetime.strptime(event_time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)).days
    except (TypeError, ValueError):
        return "?"


def show_report(report, names):
    screen.say(", ".join(f"{name} {report[name]}" for name in names if name in report))
