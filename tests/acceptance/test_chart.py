"""The Helm chart: rendered by Helm, judged by the schemas of Kubernetes and by the product itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession, encode_basic_auth
from jsonschema import Draft202012Validator

from taskengine.app import engine
from taskengine.settings import Settings
from tests.support.deployment import ROOT, helm_program, run, settings_from, understood
from tests.support.engine import settings_for
from tests.support.services import require_service

CHART = ROOT / "config" / "deploy" / "helm" / "task-engine"
KUBERNETES = ("1.27", "1.37")  # the oldest of Chart.yaml, and the newest that the schemas know
LEAST: Mapping[str, Any] = {"existingSecret": "servers"}
FULL: Mapping[str, Any] = {
    **LEAST,
    "imagePullSecrets": [{"name": "registry"}],
    "config": {"log": {"level": "debug"}, "concurrency": {"work": 3}},
    "extraEnv": [{"name": "TASKENGINE_KEY_PROVIDERS__LOCAL__SEED", "valueFrom": {"secretKeyRef": {"name": "drm", "key": "seed"}}}],
    "extraVolumes": [{"name": "authority", "configMap": {"name": "authority"}}],
    "extraVolumeMounts": [{"name": "authority", "mountPath": "/etc/authority", "readOnly": True}],
    "drainGraceSeconds": 600,
    "engine": {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}}},
    "service": {"annotations": {"a": "b"}},
    "ingress": {"enabled": True, "host": "vod.example", "className": "nginx", "tlsSecret": "cert", "annotations": {"c": "d"}},
    "workers": {
        "package": None,
        "both": {
            "queues": ["package", "work"], "slots": 3, "min": 0, "max": 7, "scratchSize": "5Gi", "resources": {},
            "nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}},
        },
    },
    "keda": {"enabled": True, "existingSecret": "scaler"},
    "media": {"existingClaim": "media"},
    "serviceAccount": {"annotations": {"e": "f"}},
    "podAnnotations": {"g": "h"},
}  # fmt: skip
BUCKETS: Mapping[str, Any] = {
    **LEAST,
    "media": {"enabled": False},
    "config": {
        "storages": {"S3": {"kind": "s3", "url": "s3://media/vod", "options": {"endpoint": "http://s3:8333", "region": "x"}}},
        "default_storage": "S3",
        "workspace": "s3://media/workspace",
    },
    "extraEnv": [
        {"name": "TASKENGINE_STORAGES__S3__CREDENTIALS__ACCESS_KEY_ID", "value": "engine"},
        {"name": "TASKENGINE_STORAGES__S3__CREDENTIALS__SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "secret"}}},
    ],
}  # fmt: skip
ALL = pytest.mark.parametrize("values", [LEAST, FULL, BUCKETS], ids=["least", "full", "buckets"])


class Chart:
    """The chart and the program that renders it."""

    def __init__(self, helm: Path, folder: Path) -> None:
        self._helm, self._folder = helm, folder

    def values(self, values: Mapping[str, Any]) -> Path:
        """A file of values."""
        path = self._folder / "values.json"
        path.write_text(json.dumps(values))
        return path

    def lint(self, values: Mapping[str, Any]) -> Any:
        """`helm lint --strict`."""
        return run(self._helm, "lint", "--strict", CHART, "--values", self.values(values))

    def template(self, values: Mapping[str, Any], *, release: str = "vod") -> Any:
        """`helm template`."""
        command = ("template", release, CHART, "--namespace", "video", "--values", self.values(values))
        return run(self._helm, *command)

    def manifests(self, values: Mapping[str, Any], **named: str) -> list[dict[str, Any]]:
        """What would be applied."""
        outcome = self.template(values, **named)
        assert outcome.returncode == 0, outcome.stderr
        return [document for document in yaml.safe_load_all(outcome.stdout) if document]


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """The chart."""
    folder = tmp_path_factory.mktemp("chart")
    return Chart(helm_program(folder), folder)


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """name → manifest."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pods(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name of the deployment, spec of its pods, their container)."""
    for name, deployment in of_kind(manifests, "Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        [container] = spec["containers"]
        yield name, spec, container


def taken(container: Mapping[str, Any], manifests: list[dict[str, Any]], folder: Path) -> Settings:
    """What the container's process takes for its settings, with the files that it is given."""
    [config] = of_kind(manifests, "ConfigMap").values()
    (folder / "taskengine.yaml").write_text(config["data"]["taskengine.yaml"])
    env = {each["name"]: each.get("value", "c2VjcmV0" * 5) for each in container["env"]}
    secrets = {
        "broker-url": "amqp://a:b@mq/",
        "database-url": "postgresql://a:b@db/c",
        "api-key": "k" * 40,
        "sealing-key": "0f" * 32,
    }
    for name, value in env.items():
        if name.endswith("_FILE"):
            key = value.removeprefix("/etc/task-engine/secret/")
            (folder / key).write_text(secrets[key])
            env[name] = str(folder / key)
    return settings_from(env, folder / "taskengine.yaml")


@ALL
def test_helm_finds_no_fault(chart: Chart, values: Mapping[str, Any]) -> None:
    """Warnings are faults."""
    outcome = chart.lint(values)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("version", KUBERNETES)
@ALL
def test_kubernetes_knows_every_field(chart: Chart, values: Mapping[str, Any], version: str) -> None:
    """Strictly: a field that it does not know is a fault. KEDA's kinds have no schema there."""
    missing = None if find_spec("kubernetes_validate") else "it is not installed: scripts/bootstrap deploy"
    require_service("kubernetes-validate", missing)
    import kubernetes_validate

    judged = [each for each in chart.manifests(values) if not each["apiVersion"].startswith("keda.sh/")]
    assert len(judged) >= 8
    for manifest in judged:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("values", [LEAST, FULL], ids=["least", "full"])
def test_pods_run_what_the_product_understands(chart: Chart, values: Mapping[str, Any], tmp_path: Path) -> None:
    """Commands, settings and secrets; workers know no database; a pod has longer to end than its drain takes."""
    manifests = chart.manifests(values)
    for name, spec, container in pods(manifests):
        understood(container["args"])
        settings = taken(container, manifests, tmp_path)
        assert str(settings.broker_url) == "amqp://a:b@mq/"
        assert spec["terminationGracePeriodSeconds"] >= settings.drain_grace_s + 10
        assert settings.workspace.startswith("/media/")
        keys = {item["key"] for volume in spec["volumes"] for item in volume.get("secret", {}).get("items", ())}
        engine = name.endswith("-engine")
        assert keys == (
            {"broker-url", "sealing-key", "database-url", "api-key"} if engine else {"broker-url", "sealing-key"}
        )
        assert str(settings.database_url).startswith("postgresql:" if engine else "sqlite:")
        for key, value in values.get("config", {}).items():
            assert settings.model_dump(mode="json")[key].items() >= value.items()


def test_with_buckets_no_disk_is_shared(chart: Chart, tmp_path: Path) -> None:
    """No claim, no mount; storages and workspace are the configuration's, a bucket's secret comes by reference."""
    manifests = chart.manifests(BUCKETS)
    assert not of_kind(manifests, "PersistentVolumeClaim")
    for _, spec, container in pods(manifests):
        assert {volume["name"] for volume in spec["volumes"]} == {"config", "secret", "data", "tmp"}
        assert {mount["name"] for mount in container["volumeMounts"]} == {"config", "secret", "data", "tmp"}
        settings = taken(container, manifests, tmp_path)
        assert (settings.workspace, settings.default_storage) == ("s3://media/workspace", "S3")
        credentials = settings.storages["S3"].model_dump()["credentials"]
        assert credentials["secret_access_key"].get_secret_value() == "c2VjcmV0" * 5


@pytest.mark.parametrize(
    ("values", "url"),
    [
        (LEAST, None),
        (FULL, "https://vod.example"),
        ({**FULL, "ingress": {"enabled": True, "host": "vod.example"}}, "http://vod.example"),
        ({**FULL, "config": {"public_url": "https://cdn.example/vod"}}, "https://cdn.example/vod"),
    ],
)
def test_channels_are_found_where_the_ingress_is(
    chart: Chart, tmp_path: Path, values: Mapping[str, Any], url: str | None
) -> None:
    """Unless the configuration names another place: their URLs begin with `public_url`."""
    manifests = chart.manifests(values)
    container = next(container for name, _, container in pods(manifests) if name.endswith("-engine"))
    settings = taken(container, manifests, tmp_path)
    assert (str(settings.public_url) if "public_url" in settings.model_fields_set else None) == url


def test_pods_have_no_right_that_they_do_not_need(chart: Chart) -> None:
    """And no variable of a service, as TASKENGINE_PORT would be a setting of ours."""
    for _, spec, container in pods(chart.manifests(FULL, release="taskengine")):
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        security = container["securityContext"]
        assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]) == (True, False)
        assert security["capabilities"] == {"drop": ["ALL"]}
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in spec["volumes"]}


async def test_an_engines_probes_and_scaling_ask_what_the_api_answers(chart: Chart, tmp_path: Path) -> None:
    """Each probe gets 200; each trigger finds a number where it looks, by HTTP Basic as a viewer."""
    manifests = chart.manifests(FULL)
    [service] = of_kind(manifests, "Service").values()
    host = f"http://{service['metadata']['name']}.video.svc:{service['spec']['ports'][0]['port']}"
    container = next(container for name, _, container in pods(manifests) if name.endswith("-engine"))
    triggers = [trigger for one in of_kind(manifests, "ScaledObject").values() for trigger in one["spec"]["triggers"]]
    async with engine(settings_for(tmp_path), workers=False) as running, ClientSession(running.url) as http:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert (await http.get(container[probe]["httpGet"]["path"])).status == 200
        made = await running.tenants.add_client("scaler", "viewer")
        basic = {"Authorization": encode_basic_auth("scaler", made.api_key)}
        for asked in (trigger["metadata"] for trigger in triggers):
            assert asked["authMode"] == "basic"
            reply = await http.get(asked["url"].removeprefix(host), headers=basic)
            assert reply.status == 200
            found: Any = reduce(lambda at, key: at[key], asked["valueLocation"].split("."), await reply.json())
            assert isinstance(found, int)


def test_every_pool_scales_on_what_is_ready_or_runs_in_its_queues(chart: Chart) -> None:
    """As many pods as fill; the deployment's own count is left to KEDA."""
    manifests = chart.manifests(FULL)
    scaled, deployments = of_kind(manifests, "ScaledObject"), of_kind(manifests, "Deployment")
    assert set(scaled) == {name for name in deployments if "-worker-" in name}
    both = scaled["vod-task-engine-worker-both"]["spec"]
    assert (both["minReplicaCount"], both["maxReplicaCount"]) == (0, 7)
    assert [trigger["metadata"]["valueLocation"] for trigger in both["triggers"]] == [
        "queues.package.pending", "queues.package.working", "queues.work.pending", "queues.work.working",
    ]  # fmt: skip
    modifiers = both["advanced"]["scalingModifiers"]
    assert modifiers["formula"].split(" + ") == [trigger["name"] for trigger in both["triggers"]]
    # A pod takes `slots` tasks of each of its queues, and one queue alone must get as many pods as it fills.
    assert modifiers["target"] == "3"
    [auth] = of_kind(manifests, "TriggerAuthentication").values()
    assert {trigger["authenticationRef"]["name"] for trigger in both["triggers"]} == {auth["metadata"]["name"]}
    for name, deployment in deployments.items():
        assert ("replicas" in deployment["spec"]) == name.endswith("-engine")
    without = chart.manifests(LEAST)
    assert not of_kind(without, "ScaledObject")
    assert all("replicas" in deployment["spec"] for deployment in of_kind(without, "Deployment").values())


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "existingSecret is required"),
        ({**LEAST, "keda": {"enabled": True}}, "keda.existingSecret is required"),
        ({**LEAST, "ingress": {"enabled": True}}, "ingress.host is required"),
        ({**LEAST, "replicas": 3}, "replicas"),
        ({**LEAST, "engine": {"replicas": 0}}, "/engine/replicas"),
        ({**LEAST, "workers": {"transcode": {"queues": []}}}, "/workers/transcode"),
        ({**LEAST, "config": {"database_url": "postgresql://a:secret@b/c"}}, "/config/database_url"),
        ({**LEAST, "config": {"workspace": "s3://a/b"}}, "/config/workspace"),
        ({**LEAST, "media": {"enabled": False}}, "missing properties 'storages', 'default_storage', 'workspace'"),
        ({**BUCKETS, "config": {**BUCKETS["config"], "workspace": "/data/workspace"}}, "/config/workspace"),
    ],
)
def test_values_that_do_not_fit_are_refused(chart: Chart, values: Mapping[str, Any], word: str) -> None:
    """Before anything is applied, and by name."""
    outcome = chart.template(values)
    assert outcome.returncode != 0
    assert word in outcome.stderr


def test_ranchers_questions_are_about_values_of_the_chart() -> None:
    """Each asks for a value that there is, offers its default, and takes nothing that the schema refuses."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    asked = yaml.safe_load((CHART / "questions.yaml").read_text())["questions"]
    every = [*asked, *(sub for question in asked for sub in question.get("subquestions", ()))]
    assert len(every) > 10
    for question in every:
        path = question["variable"].split(".")
        there: Any = reduce(lambda at, key: at[key], path, values)
        assert question.get("default", "") == there, question["variable"]
        kinds = {"int": int, "boolean": bool}
        assert type(there) is kinds.get(question["type"], str), question["variable"]
        for bound in ("min", "max"):
            if bound in question:
                changed: Any = question[bound]
                for key in reversed(path):
                    changed = {key: changed}
                assert not [*Draft202012Validator(schema).iter_errors(merged(values, changed))]


def merged(values: Any, changes: Any) -> Any:
    """Values with changes, as Helm merges them."""
    if not isinstance(values, dict) or not isinstance(changes, dict):
        return changes
    return {**values, **{key: merged(values.get(key), change) for key, change in changes.items()}}
