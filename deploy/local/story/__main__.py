"""tierd on an AWS of its own, from an empty account to a restored object.

Makes a virtual environment with a pinned AWS emulator (moto) under target/, starts it on a free loopback port, builds
tierd, and plays a small story against the daemon: users arrive and get buckets, CloudTrail files become counts, counts
become storage classes, archived objects come back. Everything shown is read back from the emulator and checked. It
then stays up for you to try things, until Ctrl-C. No AWS account is needed, and none is touched.
"""

import argparse
import signal
import sys


def main():
    parser = argparse.ArgumentParser(
        prog="deploy/local/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="end after the story; exit 1 if anything in it was not so")
    parser.add_argument("--binary", metavar="FILE", help="use this tierd instead of building one")
    arguments = parser.parse_args()
    # What a terminal cannot show must not end the story.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace", line_buffering=True)
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, interrupted)

    # Not above: `--help` is to work under any Python, before the virtual environment is there.
    from botocore.exceptions import BotoCoreError, ClientError

    import screen
    from world import Broken, World

    world, verdict = World(), screen.Verdict()
    try:
        look = play(world, verdict, arguments)
        whole = look is not None
        if whole and not arguments.once:
            stay(world, look, verdict)
        if whole:
            end(world, verdict)
    except KeyboardInterrupt:
        screen.say("interrupted")
        return 130
    except (Broken, BotoCoreError, ClientError) as problem:
        verdict.check(False, "the story can be told to its end", str(problem))
    finally:
        world.stop_all()
    return conclude(verdict)


def interrupted(*_):
    raise KeyboardInterrupt


def play(world, verdict, arguments):
    """The scenes, one after another. Returns the eyes on AWS, or None where there was no way to go on."""
    from pathlib import Path

    import arrive
    import count
    import moves
    import restores
    import screen
    from look import Look

    screen.heading("an AWS of our own, and tierd")
    world.start_emulator()
    screen.say(f"the emulator answers at {world.endpoint}")
    if arguments.binary:
        world.binary = Path(arguments.binary).resolve()
    else:
        screen.say("cargo build --release (the first time takes some minutes)")
        world.build()
    look = Look(world)
    arrive.what_was_there_before(look)
    arrive.init(world, verdict)
    if not arrive.users(world, look, verdict):
        screen.note(world.log_tail())
        return None
    arrive.objects(look, verdict)
    trail = count.logs(look, verdict)
    count.ingest(world, look, verdict, trail)

    screen.heading("tierd job transition: by recency")
    screen.note("used within 30 days: STANDARD; within 90: STANDARD_IA; else GLACIER. The ages are those of the logs.")
    moves.transition(world, look, verdict, trail, "recency")

    screen.heading("tierd job transition: by frequency")
    screen.note(
        "in each bucket the more used half: STANDARD; the rest: STANDARD_IA. Moving again within minutes of the first run\n"
        "would cost early deletion, and the guards would not have it: they are off for this run\n"
        "(TIERD__TRANSITION__RESPECT_MINIMUM_DURATION=false, TIERD__TRANSITION__REQUIRE_SAVING=false)."
    )
    moves.transition(
        world,
        look,
        verdict,
        trail,
        "frequency",
        TIERD__TRANSITION__RESPECT_MINIMUM_DURATION="false",
        TIERD__TRANSITION__REQUIRE_SAVING="false",
    )
    restores.restores(world, look, verdict)

    screen.heading("the daemon is well")
    world.daemon_must_run()
    verdict.equal("tierd healthcheck (exit 0)", world.tierd("healthcheck").code, 0)
    return look


def stay(world, look, verdict):
    """Leaves everything running until Ctrl-C."""
    import shlex

    import screen
    from cast import STILL_ARCHIVED

    screen.heading("it stays up until Ctrl-C")
    if verdict.false:
        screen.say(f"{len(verdict.false)} of the claims above did not hold; they are named again at the end")
    tierd = f"{shlex.quote(str(world.binary))} --config config/local.toml"
    screen.say("in another terminal, in this directory:")
    for line in world.exports():
        print(f"     {line}")
    bucket = look.buckets[STILL_ARCHIVED.user]
    uri = shlex.quote(f"s3://{bucket}/{STILL_ARCHIVED.key}")
    print(f"     {tierd} check")
    print(f"     {tierd} job transition --dry-run --json")
    print(f"     {tierd} restore {uri}")
    print(f"     {tierd} restore {uri} --status")
    print(f"     tail -f {shlex.quote(str(world.log))}")
    screen.note("the emulator notices that a restore is done when somebody looks at the object, as --status does")
    screen.say("the same settings serve the AWS command line:")
    print(f"     aws --endpoint-url {world.endpoint} s3api list-objects-v2 --bucket {bucket}", flush=True)
    try:
        world.daemon.wait()
    except KeyboardInterrupt:
        print(flush=True)
        return
    world.daemon_must_run()


def end(world, verdict):
    import time

    import screen

    screen.heading("SIGTERM: the daemon drains")
    started = time.monotonic()
    code = world.stop_daemon()
    verdict.equal("the daemon ends with exit 0", code, 0)
    screen.say(f"after {time.monotonic() - started:.1f} s")


def conclude(verdict):
    import screen

    screen.heading("the end")
    if verdict.false:
        screen.say(
            screen.paint(f"{len(verdict.false)} of {verdict.true + len(verdict.false)} claims did not hold:", "red")
        )
        for what in verdict.false:
            screen.say(f"- {what}")
        return 1
    screen.say(screen.paint(f"all {verdict.true} claims held", "green"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
