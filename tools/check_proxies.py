#!/usr/bin/env python3
"""Two servers that share their jobs through Redis, behind nginx and behind HAProxy with the configurations of packaging/ (ports and certificates apart).

    tools/check_proxies.py build/vivace         (needs nginx, haproxy, redis-server and openssl; exit code 77 where one is missing)

Checked through each, over TLS: events pass as they come; a job, and A1111's progress and interrupt, stay with one server; uploads of 48 MB pass and of more than
64 MB do not; pictures have addresses that the client can use; pages under the proxy's name may call; clients are known by their address, whatever they say; a
client that goes stops its job; and a server that is killed costs no job and no answer."""
import base64
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

SOURCE = pathlib.Path(__file__).resolve().parent.parent
KEY = "a key"
NAME = "pictures.example"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def check(holds, what):
    if not holds:
        raise AssertionError(what)


def eventually(condition, what, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, f"not within {seconds} s: {what}")
        time.sleep(0.02)


def png(size, channels=3):
    """A picture that no compression makes smaller: as many bytes as it has."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = (b"\0" + os.urandom(size * channels)) * size
    head = struct.pack(">IIBBBBB", size, size, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self):
        return json.loads(self.body)


class Door:
    """A port to ask at: a proxy's (with TLS) or a server's own."""
    def __init__(self, port, tls):
        self.port = port
        self.context = ssl._create_unverified_context() if tls else None

    def connect(self, source="127.0.0.1"):
        options = {"timeout": 600, "source_address": (source, 0)}
        if self.context:
            return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, **options)
        return http.client.HTTPConnection("127.0.0.1", self.port, **options)

    def start(self, method, path, body=None, headers=None, source="127.0.0.1"):
        """The answer's head has come; its body is to be read."""
        connection = self.connect(source)
        if isinstance(body, dict):
            body = json.dumps(body)
        connection.request(method, path, body, {"Host": NAME, "Authorization": f"Bearer {KEY}", **(headers or {})})
        return connection, connection.getresponse()

    def ask(self, *arguments, **options):
        connection, response = self.start(*arguments, **options)
        with contextlib.closing(connection):
            return Answer(response)

    def metric(self, name):
        values = [line.split()[-1] for line in self.ask("GET", "/metrics").body.decode().splitlines() if line.startswith(name + " ")]
        return float(values[0]) if values else 0


class Server(Door):
    def __init__(self, program, model, store, folder, port=None):
        super().__init__(port or free_port(), tls=False)
        self.log = folder / f"server-{self.port}.log"
        self.process = subprocess.Popen(
            [program, "serve", "--model", model, "--port", str(self.port), "--threads", "1", "--behind-proxy", "--api-key", KEY, "--job-store", store,
             "--preview-seconds", "0.05"], stderr=open(self.log, "a"))
        eventually(self.serves, f"the server answers: see {self.log}")

    def serves(self):
        try:
            return self.ask("GET", "/ready").status == 200
        except OSError:
            return False


def drawing(steps, **more):
    return {"prompt": "a red apple", "num_inference_steps": steps, "seed": 7, **more}


def events(response):
    name = None
    for line in response:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text[7:]
        elif text.startswith("data: "):
            yield name, json.loads(text[6:])


def events_pass_as_they_come(proxy, servers):
    connection, response = proxy.start("POST", "/v1/images/generations", drawing(1000, stream=True, partial_images=3))
    with contextlib.closing(connection):
        check(response.status == 200, "a stream begins")
        seen = []
        for name, _ in events(response):
            if not seen:
                check(sum(s.metric("vivace_running_jobs") for s in servers) == 1, "the first event comes while the picture is drawn")
            seen.append(name)
        check(seen == ["image_generation.partial_image"] * 3 + ["image_generation.completed"], f"events: {seen}")


def a_job_stays_with_its_server(proxy, servers):
    route = 'vivace_requests_total{route="/jobs/{id}",status="200"}'
    for number in range(4):
        source = f"127.0.0.{number + 2}"
        path = proxy.ask("POST", "/jobs", drawing(1000), source=source).headers["Location"]
        connection, response = proxy.start("GET", path + "/events", source=source)
        with contextlib.closing(connection):
            check("preview" in [name for name, _ in events(response)], "the server that draws a job answers for its events")
        before = [s.metric(route) for s in servers]
        for _ in range(6):
            check(proxy.ask("GET", path, source=source).json()["status"] == "done", "a job is done")
        answered = [s.metric(route) - b for s, b in zip(servers, before)]
        check(sorted(answered) == [0, 6], f"one server answers for a job: {answered}")


def progress_and_interrupt_are_of_the_callers_job(proxy, servers):
    del servers
    for source in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
        answers = []
        body = {"prompt": "x", "steps": 1000, "width": 32, "height": 32}
        thread = threading.Thread(target=lambda: answers.append(proxy.ask("POST", "/sdapi/v1/txt2img", body, source=source)), daemon=True)
        thread.start()
        ask = lambda method, path: proxy.ask(method, "/sdapi/v1/" + path, source=source).json()
        eventually(lambda: ask("GET", "progress")["state"]["sampling_step"] > 0, "progress is seen")
        ask("POST", "interrupt")
        thread.join()
        check(answers[0].status == 200, "an interrupted picture is answered")
        check(ask("GET", "progress")["progress"] == 0, "nothing is drawn any more")


def big_pictures_pass(proxy, servers):
    del servers
    def form(picture):
        parts = [b'name="prompt"\r\n\r\nx', b'name="num_inference_steps"\r\n\r\n4', b'name="size"\r\n\r\n32x32',
                 b'name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + picture]
        return b"".join(b"--edge\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--edge--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    answer = proxy.ask("POST", "/v1/images/edits", form(png(4000)), headers)
    check(answer.status == 200 and answer.json()["data"][0]["b64_json"], f"48 MB are taken: {answer.status} {answer.body[:200]}")
    connection = proxy.connect()
    with contextlib.closing(connection):
        connection.putrequest("POST", "/v1/images/edits", skip_host=True)
        for name, value in {"Host": NAME, "Authorization": f"Bearer {KEY}", "Content-Length": str(65 << 20), **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        check(connection.getresponse().status == 413, "more than 64 MB are refused before they are sent")


def pictures_have_addresses_of_the_proxy(proxy, servers):
    del servers
    data = proxy.ask("POST", "/v1/images/generations", drawing(2, response_format="url", n=2)).json()["data"]
    for one in data:
        check(one["url"].startswith(f"https://{NAME}/jobs/"), f"an address for the client: {one['url']}")
        for _ in range(4):
            check(proxy.ask("GET", one["url"].removeprefix(f"https://{NAME}")).body.startswith(b"\x89PNG"), "a picture lies there")


def pages_and_clients_are_known(proxy, servers):
    origin = {"Origin": f"https://{NAME}"}
    check(b"<html" in proxy.ask("GET", "/").body, "the page is there")
    check(proxy.ask("POST", "/jobs", drawing(1), origin).status == 202, "the page may call")
    check(proxy.ask("POST", "/jobs", drawing(1), {"Origin": "https://other.example"}).status == 403, "others' pages may not")
    check(proxy.ask("GET", "/v1/models", headers={"Authorization": "Bearer wrong"}).status == 401, "a wrong key is refused")
    sizes = [s.log.stat().st_size for s in servers]
    proxy.ask("GET", "/v1/models", headers={"X-Forwarded-For": "192.0.2.1"}, source="127.0.0.9")
    def lines():
        return [json.loads(line) for s, size in zip(servers, sizes) for line in s.log.read_text()[size:].splitlines() if line.startswith("{")]
    eventually(lambda: any(line["path"] == "/v1/models" for line in lines()), "a line of the log")
    clients = {line["client"] for line in lines() if line["path"] == "/v1/models"}
    check(clients == {"127.0.0.9"}, f"a client's address is what the proxy saw: {clients}")


def a_client_that_goes_stops_its_job(proxy, servers):
    for stream in (False, True):
        connection = proxy.connect()
        connection.request("POST", "/v1/images/generations", json.dumps(drawing(1000, n=10, stream=stream)), {"Host": NAME, "Authorization": f"Bearer {KEY}"})
        eventually(lambda: sum(s.metric("vivace_running_jobs") for s in servers) == 1, "it is drawn")
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        begin = time.monotonic()
        eventually(lambda: sum(s.metric("vivace_running_jobs") for s in servers) == 0, "its job is stopped", 5)
        print(f"    gone {'in a stream' if stream else 'while it waits'}: over after {1e3 * (time.monotonic() - begin):.0f} ms")


def a_server_that_is_killed_costs_nothing(proxy, servers, again):
    sources = [f"127.0.0.{i + 2}" for i in range(6)]
    paths = {source: proxy.ask("POST", "/jobs", drawing(400), source=source).headers["Location"] for source in sources}
    busy = lambda: [s.metric("vivace_running_jobs") for s in servers]
    eventually(lambda: sum(busy()) > 0, "jobs are drawn")
    victim = busy().index(1)
    servers[victim].process.kill()
    servers[victim].process.wait()
    def state(source):
        answer = proxy.ask("GET", paths[source], source=source)
        check(answer.status == 200, f"an answer for a job, whichever server is left: {answer.status} {answer.body}")
        status = answer.json()["status"]
        check(status in ("queued", "running", "done"), f"a job is {status}")
        return status
    pictures = set()
    for source in sources:
        eventually(lambda: state(source) == "done", "a job of the server that was killed is done")
        pictures.add(proxy.ask("GET", paths[source] + "/images/0", source=source).body)
        check(proxy.ask("POST", "/v1/images/generations", drawing(1), source=source).status == 200, "others go on")
    check(len(pictures) == 1 and pictures.pop().startswith(b"\x89PNG"), "all have the same picture")
    servers[victim] = again(servers[victim].port)


CHECKS = (events_pass_as_they_come, a_job_stays_with_its_server, progress_and_interrupt_are_of_the_callers_job, big_pictures_pass,
          pictures_have_addresses_of_the_proxy, pages_and_clients_are_known, a_client_that_goes_stops_its_job)


def with_ports(text, changes):
    for old, new in changes.items():
        check(old in text, f"the configuration has {old}")
        text = text.replace(old, new)
    return text


def nginx(folder, listen, ports):
    changes = {"listen 443": f"listen 127.0.0.1:{listen}", "127.0.0.1:7860": f"127.0.0.1:{ports[0]}", "127.0.0.1:7861": f"127.0.0.1:{ports[1]}",
               "/etc/ssl/certs/pictures.example.pem": f"{folder}/both.pem", "/etc/ssl/private/pictures.example.key": f"{folder}/key.pem"}
    site = with_ports((SOURCE / "packaging/nginx.conf").read_text(), changes)
    (folder / "nginx.conf").write_text(f"daemon off; pid {folder}/nginx.pid; error_log stderr warn; events {{}}\n"
                                       f"http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n{site}}}\n")
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", "nginx.conf"]


def haproxy(folder, listen, ports):
    changes = {"bind :443": f"bind 127.0.0.1:{listen}", "127.0.0.1:7860": f"127.0.0.1:{ports[0]}", "127.0.0.1:7861": f"127.0.0.1:{ports[1]}",
               "/etc/haproxy/pictures.example.pem": f"{folder}/both.pem"}
    (folder / "haproxy.cfg").write_text(with_ports((SOURCE / "packaging/haproxy.cfg").read_text(), changes))
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def main():
    program = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/vivace")
    os.environ["PATH"] += ":/usr/sbin"
    missing = [name for name in ("nginx", "haproxy", "redis-server", "openssl") if not shutil.which(name)]
    if missing:
        print("not checked: there is no", ", no ".join(missing), "(apt-get install nginx-light haproxy redis-server openssl)")
        return 77
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # nginx's workers may be somebody else
        run = lambda *arguments: subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run(program, "make-random", str(SOURCE / "tests/pipelines/data/configs/sdxl_two_levels"), str(folder / "tiny"), "--quiet")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}", "-keyout", str(folder / "key.pem"), "-out",
            str(folder / "certificate.pem"))
        (folder / "both.pem").write_text((folder / "certificate.pem").read_text() + (folder / "key.pem").read_text())

        def beside(command, **options):
            process = subprocess.Popen(command, **options)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        redis_port = free_port()
        beside(["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)], stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        serve = lambda port=None: Server(program, str(folder / "tiny"), f"redis://127.0.0.1:{redis_port}", folder, port)
        servers = [serve(), serve()]
        stack.callback(lambda: [s.process.kill() for s in servers])

        def tell_of_servers(kind, *_):
            for server in servers if kind else ():
                print(f"server {server.port}: exit code {server.process.poll()}:", *server.log.read_text().splitlines()[-3:], sep="\n    ")
        stack.push(tell_of_servers)
        for proxy_command in (nginx, haproxy):
            name, port = proxy_command.__name__, free_port()
            log = open(folder / f"{name}.log", "w")
            process = beside(proxy_command(folder, port, [s.port for s in servers]), stdout=log, stderr=log)
            proxy = Door(port, tls=True)
            def answers():
                check(process.poll() is None, (folder / f"{name}.log").read_text())
                with contextlib.suppress(OSError):
                    return proxy.ask("GET", "/ready").status == 200
            eventually(answers, f"{name} answers", 15)
            for each in CHECKS:
                each(proxy, servers)
                print(f"{name}: {each.__name__.replace('_', ' ')}", flush=True)
            a_server_that_is_killed_costs_nothing(proxy, servers, serve)
            print(f"{name}: a server that is killed costs nothing", flush=True)
            process.send_signal(signal.SIGTERM)
    return 0


if __name__ == "__main__":
    sys.exit(main())
