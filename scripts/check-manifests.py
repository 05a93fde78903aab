"""Ports, names of settings, images and labels of compose, Kubernetes and Prometheus agree with each other and with the
code, and hold what they promise. Arguments: the rendered compose file, the same with keys, then rendered Kubernetes files."""

import base64
import re
import sys
from pathlib import Path

import yaml

troubles = []


def expect(holds, what):
    if not holds:
        troubles.append(what)


# Every setting that the program reads, by the texts of its help.
help_text = Path("services/taskweir/src/help.rs").read_text() + Path("docs/settings.md").read_text()
known = set(re.findall(r"\b[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+\b", help_text))
known |= set(re.findall(r"`([A-Z][A-Z0-9_]+)`", Path("docs/settings.md").read_text()))
foreign = {"RUST_LOG"}
version = re.search(r'^version = "(.+)"', Path("Cargo.toml").read_text(), re.M).group(1)
docker = Path("Dockerfile").read_text()
for line in re.findall(r"^FROM (\S+)", docker, re.M):
    name = line.strip("${}")
    expect(line == f"${{{name}}}" and f"ARG {name}=" in docker, f"Dockerfile: FROM {line} is no build argument")
expect(len(re.findall(r"^FROM ", docker, re.M)) == 2, "Dockerfile builds in one image and runs in another")
expect(re.search(r"^USER [1-9]\d*:[1-9]\d*$", docker, re.M), "Dockerfile runs as root")
expect(re.search(r'^HEALTHCHECK .*CMD \["taskweir", "probe"\]', docker, re.M), "Dockerfile has no health check")
expect(f"ARG VERSION={version}\n" in docker, f"Dockerfile is not of version {version}")
for label in ("title", "description", "version", "licenses"):
    expect(f"org.opencontainers.image.{label}=" in docker, f"Dockerfile has no label {label}")
compose = yaml.safe_load(open(sys.argv[1]))
services = compose["services"]
keyed = yaml.safe_load(open(sys.argv[2]))["services"]
ours = {"migrate", "gateway", "dashboard", "worker", "projector", "scheduler"}
expect(ours | {"redis", "prometheus", "jaeger"} == set(services), f"compose runs {sorted(services)}")
images = {services[name]["image"] for name in ours}
expect(images == {f"taskweir:{version}"}, f"compose has {images} for one program of version {version}")
for name in ours:
    service = services[name]
    expect(service["command"] == [name], f"compose: {name} runs {service['command']}")
    expect(service.get("read_only"), f"compose: {name} may write")
    expect("ALL" in service.get("cap_drop", []), f"compose: {name} keeps capabilities")
    for variable in service["environment"]:
        expect(variable in known | foreign, f"compose: {name} sets {variable}, which nothing reads")
    wanted, state = ("redis", "service_healthy") if name == "migrate" else ("migrate", "service_completed_successfully")
    waits = service["depends_on"].get(wanted, {})
    expect(waits.get("condition") == state, f"compose: {name} does not wait for {wanted}")
    # Several builds of one name get into each other's way, and an image of that name elsewhere is not ours.
    builds = {"BUILDER_IMAGE", "RUNTIME_IMAGE", "VERSION"} if name == "migrate" else set()
    expect(set(service.get("build", {}).get("args", {})) == builds, f"compose: {name} is built with {service.get('build')}")
    expect(service.get("pull_policy") == (None if builds else "never"), f"compose: {name} may be pulled")
    expect(service["environment"]["TASKWEIR_ALLOW_ANONYMOUS"] == "1", f"compose: {name} cannot be tried without keys")
    told = keyed[name]["environment"]
    expect(told["TASKWEIR_API_KEYS"].startswith("ops:"), f"compose: {name} has no keys from .env")
    expect(told["TASKWEIR_ALLOW_ANONYMOUS"] == "0", f"compose: {name} lets anybody in with keys")
    if name not in ("gateway", "dashboard"):
        expect("ports" not in service, f"compose publishes {name}")
redis_command = " ".join(services["redis"]["command"])
for part in ("--appendonly yes", "--maxmemory-policy noeviction", "--dir /data", "redis-check-aof --fix"):
    expect(part in redis_command, f"compose: redis runs without {part}")
expect(services["redis"]["volumes"][0]["target"] == "/data", "compose: redis keeps its file in the container")
# An answer of LOADING is one, too.
expect("PONG" in " ".join(services["redis"]["healthcheck"]["test"]), "compose: redis is healthy while it reads its file")
expect(services["redis"]["healthcheck"]["start_period"] == "30m0s", "compose: redis may not take its time to read its file")
grace = float(re.search(r'"SHUTDOWN_GRACE", ([0-9.]+)', Path("services/worker/src/config.rs").read_text()).group(1))
stop = re.fullmatch(r"(\d+)s", services["worker"]["stop_grace_period"])
expect(stop and int(stop.group(1)) > grace, "compose: workers are killed before their grace is over")
# Where the programs listen unless told otherwise, which is where they are published.
defaults = {
    "gateway": Path("services/gateway/src/config.rs").read_text(),
    "dashboard": Path("services/dashboard/src/app.rs").read_text(),
}
listens = {name: int(re.search(r"\(\[127, 0, 0, 1\], ([0-9_]+)\)", text).group(1).replace("_", "")) for name, text in defaults.items()}
expect(f"GATEWAY_ADDR=0.0.0.0:{listens['gateway']}" in docker, "Dockerfile: the gateway listens elsewhere")
expect(f"DASHBOARD_ADDR=0.0.0.0:{listens['dashboard']}" in docker, "Dockerfile: the dashboard listens elsewhere")
for name, port in {**listens, "prometheus": 9090, "jaeger": 16686}.items():
    ports = services[name]["ports"]
    found = [(p["host_ip"], p["published"], p["target"]) for p in ports]
    expect(found == [("127.0.0.1", str(port), port)], f"compose publishes {found} for {name}")
expect("ports" not in services["redis"], "compose publishes redis")
expect(services["worker"]["deploy"]["replicas"] == 3, "compose runs three workers")

prometheus = yaml.safe_load(open("prometheus.yml"))
jobs = {job["job_name"] for job in prometheus["scrape_configs"]}
expect(jobs == {f"taskweir-{name}" for name in ("gateway", "dashboard", "worker", "projector", "scheduler")}, f"prometheus.yml has {jobs}")
for job in prometheus["scrape_configs"]:
    name = job["job_name"].removeprefix("taskweir-")
    port = 8000 if name == "gateway" else 9091
    static = [target for config in job.get("static_configs", []) for target in config["targets"]]
    dns = [f"{n}:{config['port']}" for config in job.get("dns_sd_configs", []) for n in config["names"]]
    file = job["authorization"]["credentials_file"]
    expect(file in services["prometheus"]["command"][0], f"compose does not write {file} of prometheus.yml")
    expect(static + dns == [f"{name}:{port}"], f"prometheus.yml scrapes {static + dns} as {name}")
rules = yaml.safe_load(open("prometheus/alerts.yml"))
expressions = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
for job in re.findall(r'job="([^"]+)"', expressions):
    expect(job in jobs, f"an alert asks for the job {job}")

# KEDA's own schema is nowhere to be had: what it scales and asks for must be there.
keda = yaml.safe_load(open("k8s/keda/worker.yaml"))
base = [document for document in yaml.safe_load_all(open("k8s/deployment.yaml")) if document]
names = {(document["kind"], document["metadata"]["name"]) for document in base}
expect(("Deployment", keda["spec"]["scaleTargetRef"]["name"]) in names, "KEDA scales what is not there")
expect(keda["metadata"]["namespace"] == "task-queue", "KEDA looks into another namespace")
asked = " ".join(trigger["metadata"]["query"] for trigger in keda["spec"]["triggers"])
for wanted in ("pending_tasks_total", "oldest_pending_age_seconds"):
    expect(wanted in asked, f"KEDA does not scale by {wanted}")
metrics = Path("services/gateway/src/metrics.rs").read_text()
for trigger in keda["spec"]["triggers"]:
    address, query = trigger["metadata"]["serverAddress"], trigger["metadata"]["query"]
    host, port = re.fullmatch(r"http://([a-z]+)\.task-queue:(\d+)", address).groups()
    ports = [p["port"] for d in base if d["kind"] == "Service" and d["metadata"]["name"] == host for p in d["spec"]["ports"]]
    expect(int(port) in ports, f"KEDA asks {address}, which is not there")
    for name in re.findall(r"[a-z]+(?:_[a-z]+)+", query):
        expect(f'"{name}"' in metrics, f"KEDA asks for {name}, which nobody serves")

# What each overlay must hold, and what the base alone holds.
promised = {
    ("Namespace", "task-queue"), ("Job", "migrate"), ("Service", "gateway"), ("Service", "dashboard"),
    ("Service", "prometheus"), ("Service", "jaeger"), ("Deployment", "prometheus"), ("Deployment", "jaeger"),
    ("ServiceAccount", "prometheus"), ("Role", "prometheus"), ("RoleBinding", "prometheus"),
    ("NetworkPolicy", "deny-all"), ("NetworkPolicy", "http"), ("NetworkPolicy", "jaeger"), ("NetworkPolicy", "prometheus"),
}
promised |= {("Deployment", name) for name in ours - {"migrate"}}
alone = {("StatefulSet", "redis"), ("Service", "redis"), ("NetworkPolicy", "redis")}

for path in sys.argv[3:]:
    documents = [document for document in yaml.safe_load_all(open(path)) if document]
    by = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    whole = promised | (alone if path.endswith("deployment.yaml") else set())
    expect(whole <= by.keys(), f"{path} lacks {sorted(whole - by.keys())}")
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in documents if d["kind"] in ("Deployment", "StatefulSet", "Job")]
    selects = lambda labels: any(labels.items() <= pod.items() for pod in pods)
    for document in documents:
        kind, meta = document["kind"], document["metadata"]
        if kind != "Namespace":
            expect(meta.get("namespace") == "task-queue", f"{path}: {kind} {meta['name']} is in {meta.get('namespace')}")
        if kind in ("Deployment", "StatefulSet", "Job"):
            pod = document["spec"]["template"]
            spec, labels = pod["spec"], pod["metadata"]["labels"]
            container = spec["containers"][0]
            name = meta["name"]
            if kind != "Job":
                expect(document["spec"]["selector"]["matchLabels"].items() <= labels.items(), f"{path}: {name} does not select its pods")
            expect(spec["securityContext"]["runAsNonRoot"], f"{path}: {name} may run as root")
            seccomp = spec["securityContext"].get("seccompProfile", {}).get("type")
            expect(seccomp == "RuntimeDefault", f"{path}: {name} has the seccomp profile {seccomp}")
            expect(container["securityContext"]["readOnlyRootFilesystem"], f"{path}: {name} may write")
            expect("memory" in container["resources"]["limits"], f"{path}: {name} has no limit")
            expect({"cpu", "memory"} <= container["resources"]["requests"].keys(), f"{path}: {name} requests nothing")
            expect(container["securityContext"]["capabilities"]["drop"] == ["ALL"], f"{path}: {name} keeps capabilities")
            expect(not container["securityContext"]["allowPrivilegeEscalation"], f"{path}: {name} may become more than it is")
            if name in ("redis", "prometheus", "jaeger"):
                expect(container["image"] == services[name]["image"], f"{path}: {name} is {container['image']}, and otherwise in compose")
            if name == "redis":
                run = " ".join(container["args"])
                for part in ("--appendonly yes", "--maxmemory-policy noeviction", "--dir /data", "redis-check-aof --fix"):
                    expect(part in run, f"{path}: redis runs without {part}")
                expect("PONG" in " ".join(container["readinessProbe"]["exec"]["command"]), f"{path}: redis is ready while it reads its file")
                patience = container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]
                expect(patience >= 1_800, f"{path}: redis is killed when its file takes {patience} s to check")
                # The budget for submits is below what Redis may use, and that is below what kills it.
                most = int(re.search(r"--maxmemory (\d+)mb", run).group(1))
                limit = int(re.fullmatch(r"(\d+)Gi", container["resources"]["limits"]["memory"]).group(1)) * 1_024
                budget = int(re.fullmatch(r"(\d+)MiB", by[("ConfigMap", "taskweir")]["data"]["MEMORY_BUDGET"]).group(1))
                expect(budget < most * 0.9 and most < limit * 0.75, f"{path}: redis has {limit} MiB, uses {most}, and submits may fill {budget}")
                mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
                claims = [claim["metadata"]["name"] for claim in document["spec"]["volumeClaimTemplates"]]
                expect([mounts.get(claim) for claim in claims] == ["/data"], f"{path}: redis keeps its file in {mounts}")
            if name == "prometheus":
                expect(spec["serviceAccountName"] == "prometheus", f"{path}: prometheus has no account")
                told = by[("ConfigMap", "prometheus")]["data"]["prometheus.yml"]
                expect('"taskweir-$1"' in told, f"{path}: its jobs are not called as alerts call them")
            expect(kind == "Job" or "readinessProbe" in container, f"{path}: {name} has no readiness probe")
            if name in ours:
                expect(container["image"] in images, f"{path}: {name} runs {container['image']}, compose {images}")
                expect(container["args"] == [name], f"{path}: {name} runs {container['args']}")
                for entry in container.get("env", []):
                    expect(entry["name"] in known, f"{path}: {name} sets {entry['name']}")
            if name in ours and kind == "Deployment":
                port = {"gateway": 8000, "dashboard": 5001}.get(name, 9091)
                wanted = [{"containerPort": port, "name": "http"}] if port != 9091 else []
                wanted += [{"containerPort": 9091, "name": "metrics"}] if name != "gateway" else []
                expect(container["ports"] == wanted, f"{path}: {name} has {container['ports']}")
                scraped = pod["metadata"]["annotations"]
                expect(scraped["prometheus.io/scrape"] == "true", f"{path}: {name} is not scraped")
                expect(int(scraped["prometheus.io/port"]) == (port if name != "dashboard" else 9091), f"{path}: {name} is scraped elsewhere")
                grace = int(by[("ConfigMap", "taskweir")]["data"]["SHUTDOWN_GRACE"])
                expect({"startupProbe", "livenessProbe"} <= container.keys(), f"{path}: {name} has too few probes")
                expect(container["livenessProbe"]["httpGet"]["path"] == "/health/live", f"{path}: {name} is killed where Redis is away")
                probes = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
                # The dashboard's own address has no readiness: it has a page that says what is wrong.
                ready = "/health/live" if name == "dashboard" and probes["readiness"]["port"] == "http" else "/health/ready"
                expect(probes["readiness"]["path"] == ready, f"{path}: {name} is ready by {probes['readiness']['path']}")
                named = [port["name"] for port in container["ports"]]
                for probe, asked in probes.items():
                    expect(asked["port"] in named, f"{path}: the {probe} probe of {name} asks port {asked['port']}")
                expect(spec["topologySpreadConstraints"], f"{path}: {name} is not spread")
                if "http" in [port["name"] for port in container["ports"]]:
                    expect("preStop" in container["lifecycle"], f"{path}: {name} goes before anybody is told")
                expect(spec["terminationGracePeriodSeconds"] > grace, f"{path}: {name} is killed before its grace is over")
        if kind == "Service":
            expect(selects(document["spec"]["selector"]), f"{path}: service {meta['name']} selects nothing")
        if kind in ("PodDisruptionBudget", "NetworkPolicy"):
            selector = document["spec"].get("selector") or document["spec"].get("podSelector")
            expect(not selector or selects(selector["matchLabels"]), f"{path}: {kind} {meta['name']} selects nothing")
        if kind == "NetworkPolicy":
            chosen = document["spec"]["podSelector"].get("matchLabels", {})
            opened = {
                port["name"]
                for d in documents if d["kind"] in ("Deployment", "StatefulSet")
                if chosen.items() <= d["spec"]["template"]["metadata"]["labels"].items()
                for container in d["spec"]["template"]["spec"]["containers"] for port in container["ports"]
            }
            for rule in document["spec"].get("ingress", []):
                for port in rule.get("ports", []):
                    expect(port["port"] in opened, f"{path}: NetworkPolicy {meta['name']} opens {port['port']}, which no pod has")
        if kind == "Service" and meta["name"] in ours:
            wanted = {"gateway": 5000, "dashboard": 5001}[meta["name"]]
            ports = [(p["port"], p["targetPort"]) for p in document["spec"]["ports"]]
            expect(ports == [(wanted, "http")], f"{path}: service {meta['name']} has {ports}")
        if kind == "ConfigMap" and meta["name"] == "taskweir":
            for variable in document["data"]:
                expect(variable in known, f"{path}: the config map sets {variable}, which nothing reads")
            expect(document["data"]["METRICS_ADDR"] == "0.0.0.0:9091", f"{path}: metrics are served elsewhere")
        if kind == "Secret" and meta["name"] == "taskweir":
            for variable in document.get("stringData", document.get("data", {})):
                expect(variable in known, f"{path}: the secret sets {variable}, which nothing reads")
    way_in = by[("Service", "gateway")]["spec"]["type"]
    if path.endswith("deployment.yaml"):
        expect(way_in == "LoadBalancer", f"{path}: the gateway has no load balancer")
    else:
        # Keys must not travel in clear.
        expect(way_in == "ClusterIP", f"{path}: the gateway can be reached without TLS")
        ingress = by[("Ingress", "taskweir")]["spec"]
        expect(ingress["ingressClassName"], f"{path}: the ingress may be nobody's")
        size = by[("Ingress", "taskweir")]["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
        body = Path("services/gateway/src/body.rs").read_text()
        wanted = int(re.search(r"MAX_BODY: usize = (\d+) \* 1_?024 \* 1_?024", body).group(1))
        expect(size == f"{wanted}m", f"{path}: the ingress refuses batches of more than {size}")
        proxies = by[("ConfigMap", "taskweir")]["data"].get("TRUSTED_PROXIES")
        expect(proxies == "1", f"{path}: one client that guesses keys bars all that come through the ingress")
        covered = {host for tls in ingress["tls"] for host in tls["hosts"]}
        expect({rule["host"] for rule in ingress["rules"]} == covered, f"{path}: TLS covers {covered}")
        behind = [p["backend"]["service"] for rule in ingress["rules"] for p in rule["http"]["paths"]]
        expect({service["name"] for service in behind} == {"gateway", "dashboard"}, f"{path}: the ingress leads to {behind}")
        for service in behind:
            ports = [p["name"] for p in by[("Service", service["name"])]["spec"]["ports"]]
            expect(service["port"]["name"] in ports, f"{path}: the ingress asks {service['name']} for a port of {ports}")
    scaler = by.get(("HorizontalPodAutoscaler", "gateway"), {}).get("spec", {})
    expect(scaler.get("scaleTargetRef", {}).get("name") == "gateway", f"{path}: the gateway does not scale")
    expect([m["resource"]["name"] for m in scaler.get("metrics", [])] == ["cpu"], f"{path}: the gateway does not scale by CPU")
    expect("replicas" not in by[("Deployment", "gateway")]["spec"], f"{path}: each apply would take the gateway's scale back")
    roles = by[("Role", "prometheus")]["rules"]
    expect(roles == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}], f"{path}: prometheus may {roles}")
    for name in ("gateway", "dashboard", "worker", "projector", "scheduler"):
        expect(("PodDisruptionBudget", name) in by, f"{path}: {name} has no disruption budget")
    # Where there are keys, nobody is let in without, and Prometheus has the one of a viewer.
    secret = by[("Secret", "taskweir")]
    text = lambda s, key: s["stringData"][key] if "stringData" in s else base64.b64decode(s["data"][key]).decode()
    keys = secret.get("stringData", secret.get("data")).keys()
    if "TASKWEIR_API_KEYS" in keys:
        listed = [key.split(":") for key in text(secret, "TASKWEIR_API_KEYS").split(",")]
        viewer = text(by[("Secret", "prometheus")], "viewer")
        expect(any(role == "viewer" and given == viewer for _, role, given in listed), f"{path}: Prometheus has no viewer's secret")
        expect(by[("ConfigMap", "taskweir")]["data"]["TASKWEIR_ALLOW_ANONYMOUS"] == "0", f"{path}: keys, and anybody is let in")
    # The StatefulSet's own Redis is reached by the name that the secret gives.
    budget = by[("ConfigMap", "taskweir")]["data"].get("MEMORY_BUDGET")
    expect((budget is None) != (("StatefulSet", "redis") in by), f"{path}: the memory budget {budget} is that of another Redis")
    if ("StatefulSet", "redis") in by:
        secret = by[("Secret", "taskweir")]["stringData"]["REDIS_URL"]
        expect(secret == "redis://redis:6379", f"{path}: REDIS_URL is {secret}")

# The workflow calls nothing but targets of the Makefile.
targets = set(re.findall(r"^([a-z-]+):", Path("Makefile").read_text(), re.M))
jobs = yaml.safe_load(open(".github/workflows/ci.yml"))["jobs"]
for run in (step["run"] for job in jobs.values() for step in job["steps"] if "run" in step):
    make, _, target = run.partition(" ")
    expect(make == "make" and target in targets, f"the workflow runs {run!r}, which is no target of the Makefile")
expect({"make lint", "make test"} <= {step.get("run") for step in jobs["test"]["steps"]}, "the workflow does not test")

for trouble in troubles:
    print(f"check-manifests: {trouble}", file=sys.stderr)
sys.exit(1 if troubles else 0)
