"""Encryption in transit and rules of access, as foreign clients meet them: libnbd, nbdcopy, qemu, nbdkit, attach."""

import json
import os
import signal
import stat
import subprocess

import nbd

from harness import MIB, Failure, check, contains, equal, mark, wait_until

CERTIFICATES = """
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
authority() { openssl req -x509 $new -keyout $1.key -out $1.pem -days 30 -subj "/CN=$1"; }
leaf() { # name authority subject days extension
    openssl req $new -keyout $1.key -out $1.csr -subj "$3"
    echo "$5" >$1.ext
    openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -out $1.pem -days $4 -extfile $1.ext
}
authority ca; authority other
leaf server ca /CN=localhost 30 'subjectAltName=DNS:localhost,IP:127.0.0.1'
leaf db1 ca /CN=db1 30 'subjectAltName=DNS:db1.example.com'
leaf backup ca /CN=backup 30 'extendedKeyUsage=clientAuth'
leaf expired ca /CN=db1 -1 'extendedKeyUsage=clientAuth'
leaf revoked ca /CN=db1 30 'extendedKeyUsage=clientAuth'
leaf stranger other /CN=db1 30 'extendedKeyUsage=clientAuth'
touch index; echo 01 >number
printf '[ca]\\ndefault_ca=a\\n[a]\\ndatabase=index\\ncrlnumber=number\\ndefault_md=sha256\\n' >ca.cnf
openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -revoke revoked.pem
openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -gencrl -crldays 30 -out crl.pem
for name in db1 backup expired revoked stranger; do
    mkdir -p as/$name
    cp ca.pem as/$name/ca-cert.pem; cp $name.pem as/$name/client-cert.pem; cp $name.key as/$name/client-key.pem
done
mkdir -p as/nobody as/cautious; cp ca.pem as/nobody/ca-cert.pem
cp db1.pem as/cautious/client-cert.pem; cp db1.key as/cautious/client-key.pem; cp other.pem as/cautious/ca-cert.pem
for user in db1 db2 backup; do psktool -u $user -p clients.psk; done
for user in db1 nobody; do psktool -u $user -p wrong.psk; done
chmod 600 *.key *.psk
mkdir -p qemu; cp clients.psk qemu/keys.psk
"""


class Credentials:
    """Certificates and keys of a test's own."""

    def __init__(self, case):
        self.home = case.path("tls")
        self.home.mkdir()
        case.run("sh", "-ec", CERTIFICATES, cwd=self.home)

    def __truediv__(self, name):
        return self.home / name

    def certificate(self):
        return ["--tls-certificate", self / "server.pem", "--tls-key", self / "server.key"]

    def all(self, mode="required"):
        return ["--tls", mode, *self.certificate(), "--tls-ca", self / "ca.pem", "--tls-psk", self / "clients.psk"]

    def keys(self, mode="required"):
        return ["--tls", mode, "--tls-psk", self / "clients.psk"]


def served(t, *options, settings=None):
    """A store with a volume, and its server."""
    store = t.store(settings=settings)
    store.zerofs("create", "vol", "--size", "64M")
    return store, store.serve(*options)


def connect(server, name="vol", psk=None, user=None, certificates=None, unix=False, tls=nbd.TLS_REQUIRE):
    """A libnbd handle; over TCP unless told otherwise."""
    handle = nbd.NBD()
    handle.set_export_name(name)
    if psk or certificates:
        handle.set_tls(tls)
    if psk:
        handle.set_tls_psk_file(str(psk))
        handle.set_tls_username(user)
    if certificates:
        handle.set_tls_certificates(str(certificates))
    if unix:
        handle.connect_unix(str(server.socket))
    else:
        handle.connect_tcp("localhost", str(server.tcp_port()))
    return handle


def refused(what, action):
    try:
        action()
    except nbd.Error as error:
        return error
    raise Failure(f"{what}: it was served")


def names(server, **options):
    """What LIST shows to a client."""
    handle = nbd.NBD()
    handle.set_opt_mode(True)
    if "psk" in options:
        handle.set_tls(nbd.TLS_REQUIRE)
        handle.set_tls_psk_file(str(options["psk"]))
        handle.set_tls_username(options["user"])
    if options.get("unix"):
        handle.connect_unix(str(server.socket))
    else:
        handle.connect_tcp("localhost", str(server.tcp_port()))
    found = []
    handle.opt_list(lambda name, description: found.append(name))
    handle.opt_abort()
    return found


def test_required_means_that_nothing_is_told_in_plain_text(t):
    keys = Credentials(t)
    _, server = served(t, *keys.all())
    for where in (f"nbd://localhost:{server.tcp_port()}", f"nbd+unix:///?socket={server.socket}"):
        listed = t.run("nbdinfo", "--list", where, expect=None)
        check(listed.code != 0 and "vol" not in listed.out, f"{where} lists {listed.out}")
    for unix in (False, True):
        contains(str(refused("plain text", lambda: connect(server, unix=unix))), "TLS", "the reason")
        connect(server, unix=unix, psk=keys / "clients.psk", user="db1").shutdown()
    # EXPORT_NAME, the old way in.
    old = nbd.NBD()
    old.set_handshake_flags(nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE)
    old.set_opt_mode(True)
    refused("the old way in", lambda: (old.connect_tcp("localhost", str(server.tcp_port())), old.opt_go()))


def test_certificates_and_keys_are_checked(t):
    keys = Credentials(t)
    _, server = served(t, *keys.all(), settings={"tls.crl_file": str(keys / "crl.pem")})
    h = connect(server, certificates=keys / "as/db1")
    data = os.urandom(MIB)
    h.pwrite(data, 4096, nbd.CMD_FLAG_FUA)
    equal(h.pread(MIB, 4096), data, "what was written")
    check(h.get_tls_negotiated(), "TLS is in use")
    h.shutdown()
    for user in ("db1", "db2", "backup"):
        h = connect(server, psk=keys / "clients.psk", user=user)
        equal(h.pread(MIB, 4096), data, f"what {user} reads")
        h.shutdown()

    def use(**options):
        # In TLS 1.3 a client learns only afterwards that its certificate was refused.
        connect(server, **options).pread(512, 0)

    for name in ("nobody", "stranger", "expired", "revoked"):
        refused(name, lambda: use(certificates=keys / "as" / name))
    refused("a client that trusts another authority", lambda: use(certificates=keys / "as/cautious"))
    refused("a wrong key", lambda: use(psk=keys / "wrong.psk", user="db1"))
    refused("an unknown user", lambda: use(psk=keys / "wrong.psk", user="nobody"))
    # A client knows that it was refused before the log says why.
    for reason in ("has expired", "certificate revoked", "did not return a certificate", "binder"):
        wait_until(lambda: reason in server.log.read_text().lower(), 10, f"the log to say '{reason}'")
    check(server.is_running(), "the server survives them all")


def test_offered_tls_is_the_clients_choice(t):
    keys = Credentials(t)
    _, server = served(t, *keys.all("on"))
    connect(server).shutdown()
    connect(server, psk=keys / "clients.psk", user="db1").shutdown()
    _, plain = served(t)
    h = connect(plain, psk=keys / "clients.psk", user="db1", tls=nbd.TLS_ALLOW)
    check(not h.get_tls_negotiated(), "a server without TLS serves whoever can go without")
    refused("who cannot", lambda: connect(plain, psk=keys / "clients.psk", user="db1"))


@mark(needs=("qemu",), limit=120)
def test_nbdcopy_qemu_and_nbdkit_speak_it(t):
    keys = Credentials(t)
    _, server = served(t, *keys.all())
    port = server.tcp_port()
    image, back = t.path("image"), t.path("back")
    image.write_bytes(os.urandom(64 * MIB))
    psk = f"tls-psk-file={keys / 'clients.psk'}"
    uris = [
        f"nbds://db1@localhost:{port}/vol?{psk}",
        f"nbds+unix://db2@/vol?socket={server.socket}&{psk}",
        f"nbds://localhost:{port}/vol?tls-certificates={keys / 'as/db1'}",
    ]
    t.run("nbdcopy", "--flush", image, uris[0])
    for uri in uris:
        t.run("nbdcopy", uri, back)
        check(back.read_bytes() == image.read_bytes(), f"the copy of {uri}")
        back.unlink()
        info = json.loads(t.run("nbdinfo", "--json", uri).out)
        equal((info["TLS"], info["exports"][0]["export-name"]), (True, "vol"), "nbdinfo")
    place = f"driver=nbd,host=localhost,port={port},export=vol,tls-creds=t"
    for credentials in (
        f"tls-creds-psk,id=t,dir={keys / 'qemu'},endpoint=client,username=db1",
        f"tls-creds-x509,id=t,dir={keys / 'as/db1'},endpoint=client",
    ):
        t.run("qemu-img", "convert", "--object", credentials, "--image-opts", place, "-O", "raw", back)
        check(back.read_bytes() == image.read_bytes(), f"qemu's copy with {credentials}")
    outside = f"tls-creds-x509,id=t,dir={keys / 'as/stranger'},endpoint=client"
    t.run("qemu-io", "--object", outside, "--image-opts", place, "-c", "read 0 512", expect=1)
    copied = t.run(
        "nbdkit", "-U", "-", "nbd", "tls=require", f"tls-psk={keys / 'clients.psk'}", "tls-username=db1",
        "hostname=localhost", f"port={port}", "export=vol", "--run", f"nbdcopy $uri {back}",
    )
    check(copied.code == 0 and back.read_bytes() == image.read_bytes(), "nbdkit's copy")


RULES = """
[[export]]
name = "pg-prod"
clients = ["db1"]
[[export]]
name = "pg-prod"
clients = ["backup"]
read_only = true
[[export]]
name = "open"
[[export]]
name = "mine"
clients = ["uid:4242"]
"""


def ruled(t, options, rules=RULES):
    store = t.store()
    for name in ("pg-prod", "open", "mine", "other"):
        store.zerofs("create", name, "--size", "16M")
    store.zerofs("snapshot", "pg-prod", "--name", "a")
    store.config.write_text(store.config.read_text() + rules)
    return store.serve(*options)


def test_each_client_sees_and_changes_what_it_may(t):
    keys = Credentials(t)
    server = ruled(t, keys.keys("on"))
    psk = keys / "clients.psk"
    everything = ["mine", "open", "other", "pg-prod", "pg-prod@a"]
    equal(names(server), ["open"], "what a client without a name sees")
    equal(names(server, psk=psk, user="db1"), ["open", "pg-prod", "pg-prod@a"], "what db1 sees")
    equal(names(server, psk=psk, user="db2"), ["open"], "what db2 sees")
    equal(names(server, unix=True), everything[:2] + everything[3:], "what root sees on the unix socket")

    writer = connect(server, "pg-prod", psk=psk, user="db1")
    writer.pwrite(b"x" * 4096, 0)
    reader = connect(server, "pg-prod", psk=psk, user="backup")
    check(reader.is_read_only(), "a read-only rule is shown")
    equal(reader.pread(4096, 0), b"x" * 4096, "what the reader reads")
    reader.set_strict_mode(0)
    for what in (
        lambda: reader.pwrite(b"y" * 4096, 0),
        lambda: reader.trim(4096, 0),
        lambda: reader.zero(4096, 0),
    ):
        equal(refused("a change by a reader", what).errnum, 1, "EPERM")
    equal(writer.pread(4096, 0), b"x" * 4096, "what stands there")

    hidden = [str(refused("db2", lambda: connect(server, name, psk=psk, user="db2"))) for name in ("pg-prod", "nosuch")]
    equal(hidden[0].replace("pg-prod", "?"), hidden[1].replace("nosuch", "?"), "a hidden export looks like none")
    refused("a client without a name", lambda: connect(server, "pg-prod"))
    refused("its snapshot", lambda: connect(server, "pg-prod@a", psk=psk, user="db2"))
    contains(server.log.read_text(), "client psk:db2 at 127.0.0.1", "the log")
    check(psk.read_text().split(":")[1].split()[0] not in server.log.read_text(), "no key is in the log")


def test_certificates_name_clients_too(t):
    keys = Credentials(t)
    server = ruled(t, keys.all(), RULES.replace('["db1"]', '["cert:*.example.com"]'))
    connect(server, "pg-prod", certificates=keys / "as/db1").pwrite(b"x" * 512, 0)
    check(connect(server, "pg-prod", certificates=keys / "as/backup").is_read_only(), "the other certificate reads")
    refused("a key with the same name", lambda: connect(server, "pg-prod", psk=keys / "clients.psk", user="db1"))


def test_users_of_the_machine_are_known_on_the_unix_socket(t):
    server = ruled(t, [])
    server.socket.chmod(0o666)
    server.socket.parent.chmod(0o755)
    script = "import nbd, sys; h = nbd.NBD(); h.connect_uri(sys.argv[1]); print(h.get_size())"
    for user, name, code in ((4242, "mine", 0), (4243, "mine", 1), (4242, "pg-prod", 1), (4243, "open", 0)):
        t.run(
            "setpriv", f"--reuid={user}", "--clear-groups", "/usr/bin/python3", "-c", script, server.uri(name),
            expect=code,
        )


def test_files_that_others_may_read_are_refused(t):
    keys = Credentials(t)
    store = t.store()
    for name in ("server.key", "clients.psk"):
        (keys / name).chmod(0o640)
        contains(server_refused(store, keys.all(), "failed"), f"chmod 600 {keys / name}", "the advice")
        (keys / name).chmod(0o600)
    contains(server_refused(store, ["--tls", "required"], "usage"), "certificate", "what is missing")
    contains(server_refused(store, ["--tls-psk", keys / "clients.psk"], "usage"), "--tls", "what is missing")


def server_refused(store, options, code):
    from harness import Server

    return Server(store, options, name=store.case.unique("r")).refused(code)


def test_an_address_open_to_the_network_without_tls_is_warned_of(t):
    keys = Credentials(t)
    store = t.store()
    for number, (options, warned) in enumerate((([], True), (keys.keys("on"), True), (keys.keys(), False))):
        server = store.serve("--listen", "0.0.0.0:0", *options, name=f"w{number}")
        equal("open to the network without TLS" in server.log.read_text(), warned, f"a warning with {options[:2]}")
        server.stop()


def test_sighup_reads_keys_anew(t):
    keys = Credentials(t)
    _, server = served(t, *keys.keys())
    old = connect(server, psk=keys / "clients.psk", user="db1")
    t.run("psktool", "-u", "new", "-p", keys / "clients.psk")
    refused("a user that is not read yet", lambda: connect(server, psk=keys / "clients.psk", user="new"))

    def reload(word):
        before = server.log.read_text().count("SIGHUP: " + word)
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: server.log.read_text().count("SIGHUP: " + word) > before, 10, f"'{word}' in the log")

    reload("new connections")
    connect(server, psk=keys / "clients.psk", user="new").shutdown()
    (keys / "clients.psk").write_text("nonsense")
    reload("certificates and keys stay")
    old.pwrite(b"x" * 512, 0)
    check(server.is_running(), "it serves on")


def test_no_secret_is_in_arguments_or_logs(t):
    keys = Credentials(t)
    store, server = served(t, *keys.all(), "--log-level", "trace")
    connect(server, psk=keys / "clients.psk", user="db1").pread(4096, 0)
    refused("a wrong key", lambda: connect(server, psk=keys / "wrong.psk", user="db1"))
    secrets = [line.split(":")[1] for line in (keys / "clients.psk").read_text().split()]
    secrets += [line for line in (keys / "server.key").read_text().splitlines() if not line.startswith("-")]
    shown = server.log.read_text() + open(f"/proc/{server.pid}/cmdline").read()
    for secret in secrets:
        check(secret not in shown, "a secret is shown")
    for name in ("control.sock",):
        equal(stat.S_IMODE((store.data / name).stat().st_mode), 0o600, f"the mode of {name}")
    equal(stat.S_IMODE(server.socket.stat().st_mode), 0o600, "the mode of the NBD socket")


@mark(needs=("devices",), limit=120)
def test_attach_works_where_the_socket_wants_tls(t):
    keys = Credentials(t)
    settings = {"tls.mode": "required", "tls.psk_file": str(keys / "clients.psk")}
    store, server = served(t, settings=settings)
    device = store.zerofs("attach", "vol").out.strip()
    t.at_end(store.zerofs, "detach", "vol", "--force")
    with open(device, "r+b", buffering=0) as disk:
        disk.write(b"z" * MIB)
        os.fsync(disk.fileno())
    equal(connect(server, unix=True, psk=keys / "clients.psk", user="db2").pread(MIB, 0), b"z" * MIB, "the volume")
    commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    secret = (keys / "clients.psk").read_text().split(":")[1].split()[0]
    check(secret not in commands, "the key is in no command's arguments")
    store.zerofs("detach", "vol")


@mark(needs=("devices",), limit=120)
def test_attach_says_what_it_lacks_and_an_exempt_socket_needs_nothing(t):
    keys = Credentials(t)
    settings = {
        "tls.mode": "required",
        "tls.certificate_file": str(keys / "server.pem"),
        "tls.key_file": str(keys / "server.key"),
        "tls.ca_file": str(keys / "ca.pem"),
    }
    store, server = served(t, settings=settings)
    contains(store.zerofs("attach", "vol", expect="usage").err, "exempt_socket", "the advice")
    server.stop()
    store.configure({"tls.exempt_socket": True})
    server.start()
    refused("plain text over TCP", lambda: connect(server))
    device = store.zerofs("attach", "vol").out.strip()
    t.at_end(store.zerofs, "detach", "vol", "--force")
    check(os.path.exists(device), "the device")
    store.zerofs("detach", "vol")
