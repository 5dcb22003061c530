"""The emulator's server: moto on a loopback port, for as long as standard input is open.

`emulator serve` becomes this program, under the virtual environment's Python.
"""

import argparse
import functools
import http.client
import json
import logging
import os
import signal
import socket
import sys
import threading

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
    """Where moto is not AWS in a way that everything here would stumble over."""
    read_archived_tags()
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


def read_archived_tags():
    """The tags and the ACL of an archived object can be read, which moto refuses."""
    from moto.s3.responses import S3Response

    get_key = S3Response._get_key

    def get_key_as_s3_does(self, validate_storage_class=True):
        about_the_object = "tagging" in self.querystring or "acl" in self.querystring
        return get_key(self, validate_storage_class and not about_the_object)

    S3Response._get_key = get_key_as_s3_does


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
