"""A service that runs jobs, in a process of its own: it only knows what arrives at its socket.

It takes whatever it is sent, the same job twice as well, and lists a job a while after it arrived.
Its log says what it was given and what was paid for. Nothing of nisqkit is imported here: jobs are
read with numpy, and their outcomes are drawn from a generator that is keyed by their content.

    python stand_in_server.py SOCKET LOG LIST_DELAY
"""

import base64
import hashlib
import io
import json
import socket
import sys
import time

import numpy as np


def content(arrays, header):
    """What a job is, however it was written: bindings, shots and seed."""
    key = hashlib.sha256(json.dumps([header["shots"], header["seed"]]).encode())
    for name in sorted(arrays):
        if name.startswith("values"):
            key.update(arrays[name].tobytes())
    return key.hexdigest()


def outcomes(values, width, shots, key):
    """Counts of every row; the probability of each bit is a smooth function of the angles."""
    found = {"outcomes": [], "counts": [], "starts": [0]}
    for r, row in enumerate(values):
        seed = hashlib.sha256(f"{key} {r}".encode()).digest()[:8]
        random = np.random.default_rng(int.from_bytes(seed, "big"))
        phase = sum(np.sin(a + 0.3 * k) for k, a in enumerate(row))
        ones = np.array([0.5 + 0.45 * np.sin(phase + 1.1 * q) for q in range(width)])
        bits = random.random((shots, width)) < ones
        table = np.bincount(bits @ (1 << np.arange(width)), minlength=2**width)
        seen = np.flatnonzero(table)
        found["outcomes"] += [[int(v)] for v in seen]
        found["counts"] += [int(n) for n in table[seen]]
        found["starts"].append(len(found["counts"]))
    return found


class Server:
    def __init__(self, path, log, delay):
        self.log = log
        self.delay = delay
        self.jobs = {}  # id -> dict
        self.faults = {}  # what goes wrong next, and how often
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(64)

    def note(self, what, job):
        line = {"what": what, "id": job["id"], "tag": job["tag"], "content": job["content"]}
        with open(self.log, "a") as file:
            file.write(json.dumps(line) + "\n")

    def fault(self, name):
        if self.faults.get(name, 0) > 0:
            self.faults[name] -= 1
            return True
        return False

    def submit(self, tag, payload):
        with np.load(io.BytesIO(base64.b64decode(payload)), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays["header"].tobytes())
        job = {
            "id": f"job{len(self.jobs)}",
            "tag": tag,
            "content": content(arrays, header),
            "arrived": time.time(),
            "state": "queued",
            "header": header,
            "arrays": arrays,
        }
        self.jobs[job["id"]] = job
        self.note("arrived", job)
        job["end"] = "done"
        for end in ("failed", "cancelled"):
            if self.fault(end):
                job["end"] = end
        if job["end"] == "done":  # it will run, whether anybody asks for it or not
            self.note("paid", job)
        return {"id": job["id"]}

    def find(self, tag):
        old = time.time() - self.delay
        return {
            "ids": [j["id"] for j in self.jobs.values() if j["tag"] == tag and j["arrived"] < old]
        }

    def state(self, id):
        job = self.jobs[id]
        job["state"] = {"queued": "running", "running": job["end"]}.get(job["state"], job["state"])
        return {"state": job["state"], "why": "the machine warmed up"}

    def result(self, id):
        job = self.jobs[id]
        if self.fault("expired"):
            return {"gone": True}
        pubs = [
            outcomes(
                job["arrays"][f"values{k}"],
                len(pub["measured"]),
                job["header"]["shots"],
                f"{job['content']} {k}",
            )
            for k, pub in enumerate(job["header"]["pubs"])
        ]
        return {"pubs": pubs}

    def plan(self, **faults):
        left, self.faults = self.faults, faults
        return left

    def run(self):
        while True:
            connection, _ = self.socket.accept()
            with connection, connection.makefile("rwb") as stream:
                line = stream.readline()
                if not line:
                    continue
                asked = json.loads(line)
                what = asked.pop("what")
                if what == "stop":
                    return
                if what != "plan" and self.fault(f"{what}-unheard"):
                    continue
                answer = getattr(self, what)(**asked)
                if what != "plan" and self.fault(f"{what}-unanswered"):
                    continue
                stream.write(json.dumps(answer).encode() + b"\n")
                stream.flush()


if __name__ == "__main__":
    Server(sys.argv[1], sys.argv[2], float(sys.argv[3])).run()
