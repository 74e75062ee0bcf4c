"""Debian's python3-stomp as a client of target_stomp: every version, what other brokers' clients
expect. Ends with 1 and a sentence when something is wrong."""

import sys
import threading
import time

import stomp

PORT = int(sys.argv[1])


class Ears(stomp.ConnectionListener):
    def __init__(self):
        self.heard = threading.Condition()
        self.messages, self.receipts, self.errors = [], [], []

    def add(self, where, frame):
        with self.heard:
            where.append(frame)
            self.heard.notify_all()

    def on_message(self, frame):
        self.add(self.messages, frame)

    def on_receipt(self, frame):
        self.add(self.receipts, frame)

    def on_error(self, frame):
        self.add(self.errors, frame)

    def wait(self, where, count, seconds=10):
        with self.heard:
            self.heard.wait_for(lambda: len(where) >= count, seconds)
            return list(where)


KINDS = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11, "1.2": stomp.StompConnection12}


def connect(version, user="guest", passcode="guest"):
    connection = KINDS[version]([("127.0.0.1", PORT)])
    ears = Ears()
    connection.set_listener("", ears)
    connection.connect(user, passcode, wait=user == "guest" and passcode == "guest")
    return connection, ears


def subscribe(version, connection, destination, id_="s", **options):
    if version == "1.0":
        connection.subscribe(destination, **options)
    else:
        connection.subscribe(destination, id_, **options)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def ack_header(version):
    return "ack" if version == "1.2" else "message-id"


def acknowledge(version, connection, frame, id_="s"):
    name = frame.headers[ack_header(version)]
    if version == "1.1":
        connection.ack(name, id_)
    else:
        connection.ack(name)


def topics(version):
    connection, ears = connect(version)
    subscribe(version, connection, "/exchange/amq.fanout", receipt="sub")
    check(ears.wait(ears.receipts, 1), "no receipt for SUBSCRIBE")
    connection.send("/exchange/amq.fanout", "hello", headers={"custom": "v"})
    message = ears.wait(ears.messages, 1)[0]
    check(message.body == "hello", "wrong body")
    check(message.headers["custom"] == "v", "the header was lost")
    check(message.headers["destination"] == "/exchange/amq.fanout", "wrong destination")
    connection.disconnect()


def cumulative(version):
    queue = "/queue/cumulative-" + version
    connection, ears = connect(version)
    subscribe(version, connection, queue, ack="client", headers={"prefetch-count": "10"})
    for text in ("one", "two", "three"):
        connection.send(queue, text)
    check(len(ears.wait(ears.messages, 3)) == 3, "not all three came")
    connection.disconnect()
    connection, ears = connect(version)
    subscribe(version, connection, queue, ack="client", headers={"prefetch-count": "10"})
    messages = ears.wait(ears.messages, 3)
    check([m.body for m in messages] == ["one", "two", "three"], "not the same three came back")
    check(messages[0].headers["redelivered"] == "true", "not marked as redelivered")
    acknowledge(version, connection, messages[1])
    connection.disconnect()
    connection, ears = connect(version)
    subscribe(version, connection, queue)
    time.sleep(0.5)
    check([m.body for m in ears.messages] == ["three"], "the ACK did not cover what came before")
    connection.disconnect()


def nack(version):
    queue = "/queue/nack-" + version
    connection, ears = connect(version)
    subscribe(version, connection, queue, ack="client-individual")
    connection.send(queue, "again")
    first = ears.wait(ears.messages, 1)[0]
    header = "id" if version == "1.2" else "message-id"
    def refuse(frame, **more):
        headers = {header: frame.headers[ack_header(version)], **more}
        if version == "1.1":
            headers["subscription"] = "s"
        connection.send_frame("NACK", headers)
    refuse(first)
    second = ears.wait(ears.messages, 2)[1]
    refuse(second, requeue="false")
    time.sleep(0.5)
    check(len(ears.messages) == 2, "a message with requeue:false came again")
    connection.disconnect()


def refused(version):
    for user, passcode in (("gust", "guest"), ("guest", "gust")):
        connection, ears = connect(version, user, passcode)
        errors = ears.wait(ears.errors, 1)
        check(errors, "no ERROR for a wrong login")
        check(errors[0].body == f"Access refused for user '{user}'\n", errors[0].body)
        time.sleep(0.3)
        check(not connection.is_connected(), "still connected")


def receipts(version):
    connection, ears = connect(version)
    for i in range(50):
        connection.send("/queue/receipts", "x", receipt=f"r{i}")
    names = {f.headers["receipt-id"] for f in ears.wait(ears.receipts, 50)}
    check(names == {f"r{i}" for i in range(50)}, "receipts are missing")
    connection.disconnect()


try:
    for v in KINDS:
        for part in (topics, cumulative, nack, refused, receipts):
            part(v)
except AssertionError as wrong:
    print(f"{part.__name__} {v}: {wrong}")
    sys.exit(1)
