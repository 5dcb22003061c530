"""The emulator's server: moto on a loopback port, for as long as standard input is open.

`emulator serve` becomes this program, under the virtual environment's Python.
"""

import argparse
import datetime
import functools
import http.client
import json
import logging
import os
import signal
import socket
import sys
import threading
import urllib.parse

HOST = "127.0.0.1"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: os._exit(0))
    # Before the imports: they take a second, and a parent may be gone by then.
    threading.Thread(target=end_with_standard_input, daemon=True).start()

    # The port is bound here and handed over, never looked up and bound again: nobody can take it in between.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, arguments.port))
    except OSError as problem:
        sys.exit(f"emulator: cannot listen on {HOST}:{arguments.port}: {problem}")
    listener.listen(1024)
    port = listener.getsockname()[1]
    os.environ["MOTO_PORT"] = str(port)
    # moto asks botocore for its service models, and botocore would look at this user's profiles.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}

    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    mend()
    logging.getLogger("werkzeug").setLevel(logging.INFO if arguments.verbose else logging.ERROR)
    server = make_server(
        HOST,
        port,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=MotoRequestHandler,
        fd=listener.fileno(),
    )
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    wait_until_it_answers(port)
    ready = {"endpoint": f"http://{HOST}:{port}", "pid": os.getpid()}
    print(json.dumps(ready, separators=(",", ":")), flush=True)
    serving.join()
    sys.exit("emulator: the server ended by itself")


def mend():
    """Where moto refuses what S3 allows, or takes what S3 refuses, and tierd goes by it."""
    mend_reading_of_archived_objects()
    mend_conditions_of_copies()
    mend_tags_of_copies()
    mend_restores()
    write_items_one_at_a_time()


def write_items_one_at_a_time():
    """DynamoDB asks a condition and writes in one step. moto asks, then writes, in as many threads as there are requests: two
    writers at once both find the condition true."""
    from moto.dynamodb.models import DynamoDBBackend

    # Taken again by the writes within a transaction.
    lock = threading.RLock()

    def locked(write):
        @functools.wraps(write)
        def one_at_a_time(*arguments, **named):
            with lock:
                return write(*arguments, **named)

        return one_at_a_time

    for name in ("put_item", "update_item", "delete_item", "transact_write_items"):
        setattr(DynamoDBBackend, name, locked(getattr(DynamoDBBackend, name)))


def mend_reading_of_archived_objects():
    """The tags and the ACL of an archived object can be read."""
    from moto.s3.responses import S3Response

    get_key = S3Response._get_key

    def get_key_as_s3_does(self, validate_storage_class=True):
        about_the_object = "tagging" in self.querystring or "acl" in self.querystring
        return get_key(self, validate_storage_class and not about_the_object)

    S3Response._get_key = get_key_as_s3_does


def mend_conditions_of_copies():
    """A CopyObject whose source or destination is not as its headers say is refused (412); one that is archived and not
    restored is so first. Nothing else is written to the two meanwhile."""
    from moto.s3.exceptions import PreconditionFailed
    from moto.s3.models import S3Backend
    from moto.s3.responses import S3Response

    writing = threading.RLock()
    copy_object, put_object, delete_object = S3Response.copy_object, S3Backend.put_object, S3Backend.delete_object

    def fits(key, wanted):
        return key is not None and wanted.strip('"') == key.etag.strip('"')

    def copy_object_as_s3_does(self):
        source = urllib.parse.urlparse(as_text(self.headers.get("x-amz-copy-source", "")))
        bucket, name = urllib.parse.unquote(source.path).lstrip("/").split("/", 1)
        version = urllib.parse.parse_qs(source.query).get("versionId", [None])[0]
        with writing:
            conditions = [
                ("x-amz-copy-source-if-match", lambda: self.backend.get_object(bucket, name, version_id=version)),
                ("if-match", lambda: self.backend.get_object(self.bucket_name, self.parse_key_name())),
            ]
            for header, key in conditions:
                wanted = self.headers.get(header)
                if wanted and not fits(key(), wanted):
                    raise PreconditionFailed(failed_condition=header)
            if self.headers.get("if-none-match") and self.backend.get_object(self.bucket_name, self.parse_key_name()):
                raise PreconditionFailed(failed_condition="if-none-match")
            return copy_object(self)

    def one_at_a_time(method):
        def alone(self, *arguments, **named):
            with writing:
                return method(self, *arguments, **named)

        return alone

    S3Response.copy_object = copy_object_as_s3_does
    S3Backend.put_object = one_at_a_time(put_object)
    S3Backend.delete_object = one_at_a_time(delete_object)


def mend_tags_of_copies():
    """What is copied over leaves no tags behind."""
    from moto.s3.models import S3Backend

    copy_object = S3Backend.copy_object

    def copy_object_as_s3_does(self, src_key, dest_bucket_name, dest_key_name, *arguments, **named):
        there = self.get_object(dest_bucket_name, dest_key_name)
        if there is not None and (dest_bucket_name, dest_key_name) != (src_key.bucket_name, src_key.name):
            self.tagger.delete_all_tags_for_resource(there.arn)
        return copy_object(self, src_key, dest_bucket_name, dest_key_name, *arguments, **named)

    S3Backend.copy_object = copy_object_as_s3_does


def mend_restores():
    """A restore's time begins when it is asked for, and S3 is not to be asked twice meanwhile."""
    from moto.s3.exceptions import S3ClientError
    from moto.s3.models import FakeKey, S3Backend

    restore, restore_object = FakeKey.restore, S3Backend.restore_object

    def restore_from_now_on(self, days):
        if self._expiry is None:
            self._status, self._tick, self._time_progressed = "IN_PROGRESS", 0, datetime.datetime.now()
        restore(self, days)

    def restore_object_as_s3_does(self, bucket_name, key_name, *arguments, **named):
        key = self.get_object(bucket_name, key_name)
        if key is not None and 'ongoing-request="true"' in key.response_dict.get("x-amz-restore", ""):
            raise S3ClientError("RestoreAlreadyInProgress", "Object restore is already in progress")
        return restore_object(self, bucket_name, key_name, *arguments, **named)

    FakeKey.restore, S3Backend.restore_object = restore_from_now_on, restore_object_as_s3_does


def as_text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else value


def end_with_standard_input():
    while os.read(0, 65536):
        pass
    # No clean-up: nothing here outlives the process, and request threads may be busy.
    os._exit(0)


def wait_until_it_answers(port):
    # http.client and not urllib: a proxy from the environment has no business here.
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", "/moto-api/state-manager/get-transition?model_name=s3::keyrestore")
    status = connection.getresponse().status
    if status != 200:
        sys.exit(f"emulator: moto answers {status} to its own status page")
    connection.close()


if __name__ == "__main__":
    main()
