"""Ports, names of settings, images and labels of compose, Kubernetes and Prometheus agree with each other and with the
code. Arguments: the rendered compose file, then rendered Kubernetes files."""

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
help_text = Path("services/taskweir/src/help.rs").read_text() + Path("README.md").read_text()
known = set(re.findall(r"\b[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+\b", help_text))
known |= set(re.findall(r"`([A-Z][A-Z0-9_]+)`", Path("README.md").read_text()))
foreign = {"RUST_LOG"}
compose = yaml.safe_load(open(sys.argv[1]))
services = compose["services"]
ours = {"migrate", "gateway", "dashboard", "worker", "projector", "scheduler"}
expect(ours | {"redis", "prometheus", "jaeger"} == set(services), f"compose runs {sorted(services)}")
images = {services[name]["image"] for name in ours}
expect(len(images) == 1, f"compose has {images} for one program")
for name in ours:
    service = services[name]
    expect(service["command"] == [name], f"compose: {name} runs {service['command']}")
    expect(service.get("read_only"), f"compose: {name} may write")
    expect("ALL" in service.get("cap_drop", []), f"compose: {name} keeps capabilities")
    for variable in service["environment"]:
        expect(variable in known | foreign, f"compose: {name} sets {variable}, which nothing reads")
    waits = service["depends_on"]
    wanted = "redis" if name == "migrate" else "migrate"
    expect(wanted in waits, f"compose: {name} does not wait for {wanted}")
for name, port in {"gateway": 8000, "dashboard": 5001, "prometheus": 9090, "jaeger": 16686}.items():
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
metrics = Path("services/gateway/src/metrics.rs").read_text()
for trigger in keda["spec"]["triggers"]:
    address, query = trigger["metadata"]["serverAddress"], trigger["metadata"]["query"]
    host, port = re.fullmatch(r"http://([a-z]+)\.task-queue:(\d+)", address).groups()
    ports = [p["port"] for d in base if d["kind"] == "Service" and d["metadata"]["name"] == host for p in d["spec"]["ports"]]
    expect(int(port) in ports, f"KEDA asks {address}, which is not there")
    for name in re.findall(r"[a-z]+(?:_[a-z]+)+", query):
        expect(f'"{name}"' in metrics, f"KEDA asks for {name}, which nobody serves")

for path in sys.argv[2:]:
    documents = [document for document in yaml.safe_load_all(open(path)) if document]
    by = {(document["kind"], document["metadata"]["name"]): document for document in documents}
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
            expect(container["securityContext"]["readOnlyRootFilesystem"], f"{path}: {name} may write")
            expect("memory" in container["resources"]["limits"], f"{path}: {name} has no limit")
            expect(kind == "Job" or "readinessProbe" in container, f"{path}: {name} has no readiness probe")
            if name in ours:
                expect(container["image"] in images, f"{path}: {name} runs {container['image']}, compose {images}")
                expect(container["args"] == [name], f"{path}: {name} runs {container['args']}")
                for entry in container.get("env", []):
                    expect(entry["name"] in known, f"{path}: {name} sets {entry['name']}")
            if name in ours and kind == "Deployment":
                port = {"gateway": 8000, "dashboard": 5001}.get(name, 9091)
                wanted = [{"containerPort": port, "name": "http"}]
                wanted += [{"containerPort": 9091, "name": "metrics"}] if name == "dashboard" else []
                expect(container["ports"] == wanted, f"{path}: {name} has {container['ports']}")
                scraped = pod["metadata"]["annotations"]
                expect(scraped["prometheus.io/scrape"] == "true", f"{path}: {name} is not scraped")
                expect(int(scraped["prometheus.io/port"]) == (port if name != "dashboard" else 9091), f"{path}: {name} is scraped elsewhere")
                grace = int(by[("ConfigMap", "taskweir")]["data"]["SHUTDOWN_GRACE"])
                expect(spec["terminationGracePeriodSeconds"] > grace, f"{path}: {name} is killed before its grace is over")
        if kind == "Service" and meta["name"] in ours:
            wanted = {"gateway": 5000, "dashboard": 5001}[meta["name"]]
            ports = [(p["port"], p["targetPort"]) for p in document["spec"]["ports"]]
            expect(ports == [(wanted, "http")], f"{path}: service {meta['name']} has {ports}")
        if kind == "ConfigMap" and meta["name"] == "taskweir":
            for variable in document["data"]:
                expect(variable in known, f"{path}: the config map sets {variable}, which nothing reads")
    expect(by[("Service", "gateway")]["spec"]["type"] == "LoadBalancer", f"{path}: the gateway has no load balancer")
    expect(("HorizontalPodAutoscaler", "gateway") in by, f"{path}: the gateway does not scale")
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
    if ("StatefulSet", "redis") in by:
        secret = by[("Secret", "taskweir")]["stringData"]["REDIS_URL"]
        expect(secret == "redis://redis:6379", f"{path}: REDIS_URL is {secret}")

for trouble in troubles:
    print(f"check-manifests: {trouble}", file=sys.stderr)
sys.exit(1 if troubles else 0)
