"""The scenes of the policies: what the ledger says becomes storage classes. What must happen is worked out here from
the cast and the model of the logs."""

from datetime import datetime, timezone

import screen
from arrive import short
from cast import KIB, THINGS
from look import ARCHIVES

SMALLEST = 128 * KIB


def recency(uses, now):
    """Class and reason by days since the last use, as config/default.toml has it."""
    deserved = {}
    for thing, use in uses.items():
        last = datetime.strptime(use.event_time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        days = (now - last).days
        deserved[thing] = (
            "STANDARD" if days <= 30 else "STANDARD_IA" if days <= 90 else "GLACIER",
            f"used {days} days ago",
        )
    return deserved


def frequency(uses, _now):
    """Class and reason by rank within the bucket: the more used half is STANDARD."""
    deserved = {}
    for user in {thing.user for thing in uses}:
        # By count, then by the later use. Keys break no tie in this story.
        ranked = sorted(
            (thing for thing in uses if thing.user == user),
            key=lambda thing: (uses[thing].count, uses[thing].event_time),
            reverse=True,
        )
        for rank, thing in enumerate(ranked, 1):
            top = rank <= len(ranked) // 2
            reason = f"number {rank} of {len(ranked)} by use ({uses[thing].count})"
            deserved[thing] = ("STANDARD" if top else "STANDARD_IA", reason)
    return deserved


def destination(thing, current, deserved):
    """Where an object must be after a run, and why."""
    wanted, reason = deserved
    if current in ARCHIVES and wanted != current:
        return current, f"{reason}, but archived: only a restore brings it back"
    if wanted != current and thing.size < SMALLEST:
        return current, f"{reason}, but under 128 KiB"
    return wanted, reason


def transition(world, look, verdict, trail, policy, **settings):
    """One dry run and one run under a policy."""
    uses = {thing: trail.model.uses[look.buckets[thing.user], thing.key] for thing in THINGS}
    deserved = {"recency": recency, "frequency": frequency}[policy](uses, trail.now)
    before = look.things()
    expected = {thing: destination(thing, before[thing].storage_class, deserved[thing]) for thing in THINGS}
    moving = [thing for thing in THINGS if expected[thing][0] != before[thing].storage_class]
    settings = {"TIERD__TRANSITION__POLICY": policy, **settings}

    dry = world.tierd("job", "transition", "--dry-run", "--json", **settings)
    plan = dry.report()
    verdict.equal(
        "the dry run plans what the policy asks for",
        {"planned": plan.get("planned"), "policy": plan.get("policy"), "exit": dry.code},
        {"planned": len(moving), "policy": policy, "exit": 0},
    )
    verdict.same_mapping(
        "and changes nothing",
        {thing.key: now for thing, now in look.classes().items()},
        {thing.key: now.storage_class for thing, now in before.items()},
    )

    done = world.tierd("job", "transition", "--json", **settings)
    report = done.report()
    screen.say(
        f"moved {report.get('moved')} of {report.get('considered')}, {screen.size(report.get('bytes_moved') or 0)}; "
        f"cost {report.get('cost_usd')} USD once, saves {report.get('monthly_saving_usd')} USD a month; "
        f"skipped: {report.get('skipped')}"
    )
    after = look.things()
    screen.table(
        ["user", "key", "was", "is", "ETag", "because"],
        [
            (
                thing.user[:13],
                thing.key,
                before[thing].storage_class,
                after[thing].storage_class if after[thing].storage_class != before[thing].storage_class else "stays",
                f"{short(before[thing].etag)} → {short(after[thing].etag)}"
                if before[thing].etag != after[thing].etag
                else "same",
                expected[thing][1],
            )
            for thing in sorted(THINGS, key=lambda thing: (thing not in moving, thing.user, thing.key))
        ],
    )
    verdict.equal(
        "the run says that it did it",
        {name: report.get(name) for name in ("outcome", "moved", "failed")} | {"exit": done.code},
        {"outcome": "ok", "moved": len(moving), "failed": 0, "exit": 0},
    )
    verdict.same_mapping(
        "every object is in the class that it deserves, or stays for a reason",
        {thing.key: now.storage_class for thing, now in after.items()},
        {thing.key: expected[thing][0] for thing in THINGS},
    )
    nothing_is_lost(look, verdict, after)
    ledger_follows(look, verdict, after)


def nothing_is_lost(look, verdict, seen):
    lost = look.lost(seen)
    claim = "content type, cache control, metadata, tags, KMS keys and (where they can be read) bytes are as before"
    verdict.check(not lost, claim, "; ".join(lost))


def ledger_follows(look, verdict, seen):
    rows = look.ledger()
    expected = {thing.key: (now.storage_class, now.etag) for thing, now in seen.items()}
    found = {key: (row.get("storage_class"), row.get("entity_tag_value")) for (_, key), row in rows.items()}
    verdict.same_mapping("the ledger has the class and the ETag that S3 has", found, expected)
