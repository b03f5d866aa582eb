using System.Text;
using System.Text.Json.Nodes;
using OrleansCluster.Kubelet.Pods;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Tests.Support;

/// <summary>Makes pods as the API would push them.</summary>
internal static class PodJsonBuilder
{
    public static JsonObject Pod(string name = "web", string @namespace = "default", string? uid = null, string restartPolicy = "Always", params JsonObject[] containers)
    {
        return new JsonObject
        {
            ["kind"] = "Pod",
            ["apiVersion"] = "v1",
            ["metadata"] = new JsonObject { ["name"] = name, ["namespace"] = @namespace, ["uid"] = uid ?? "uid-" + name },
            ["spec"] = new JsonObject
            {
                ["restartPolicy"] = restartPolicy,
                ["terminationGracePeriodSeconds"] = 30,
                ["enableServiceLinks"] = true,
                ["nodeName"] = "node-1",
                ["containers"] = new JsonArray([.. (containers.Length == 0 ? [Container("c")] : containers).Select(c => (JsonNode)c)]),
            },
            ["status"] = new JsonObject { ["phase"] = "Pending", ["qosClass"] = "BestEffort" },
        };
    }

    public static JsonObject Container(string name, string image = "busybox:1.36") => new()
    {
        ["name"] = name,
        ["image"] = image,
        ["imagePullPolicy"] = "IfNotPresent",
    };

    public static JsonObject With(this JsonObject obj, string member, JsonNode value)
    {
        obj[member] = value;
        return obj;
    }

    public static JsonObject Spec(this JsonObject pod) => (JsonObject)pod["spec"]!;

    public static JsonObject WithInit(this JsonObject pod, params JsonObject[] containers)
    {
        pod.Spec()["initContainers"] = new JsonArray([.. containers.Select(c => (JsonNode)c)]);
        return pod;
    }

    public static JsonObject Deleted(this JsonObject pod, int grace = 30)
    {
        var copy = (JsonObject)pod.DeepClone();
        copy["metadata"]!["deletionTimestamp"] = "2026-01-01T00:00:30Z";
        copy["metadata"]!["deletionGracePeriodSeconds"] = grace;
        return copy;
    }

    public static byte[] Bytes(this JsonObject pod) => Encoding.UTF8.GetBytes(pod.ToJsonString());

    public static PodDocument Parse(this JsonObject pod) => PodDocument.Parse(pod.Bytes());
}

/// <summary>A pod's state as if containers had been observed.</summary>
internal sealed class StateBuilder
{
    public static readonly DateTimeOffset Now = new(2026, 1, 1, 12, 0, 0, TimeSpan.Zero);

    public StateBuilder(JsonObject pod) => State = new PodState(pod.Parse()) { StartTime = Now - TimeSpan.FromMinutes(1) };

    public PodState State { get; }

    public StateBuilder Sandbox(bool running = true, bool wasRunning = true, int attempt = 0)
    {
        State.Sandbox = new SandboxStatus(
            $"sandbox-{attempt}", State.Pod.Identity, attempt, running, running ? 42 : 0, System.Net.IPAddress.Parse("10.244.1.2"), Now, SandboxNetwork.Pod);
        State.SandboxWasRunning = wasRunning;
        return this;
    }

    public StateBuilder Volumes(bool ready = true)
    {
        State.VolumesReady = ready;
        return this;
    }

    public StateBuilder Up() => Sandbox().Volumes();

    public StateBuilder Image(string name)
    {
        State.Container(name).Image = new("sha256:1", ["x"], 1, "", Now);
        return this;
    }

    public StateBuilder Created(string name, int attempt = 0) => Container(name, ContainerState.Created, attempt);

    public StateBuilder Running(string name, int attempt = 0, string sandbox = "sandbox-0")
    {
        Container(name, ContainerState.Running, attempt, sandbox: sandbox);
        State.Container(name).PostStartDone = true;
        return this;
    }

    public StateBuilder Exited(string name, int code = 0, int attempt = 0, TimeSpan? ago = null, TimeSpan? ran = null, string sandbox = "sandbox-0") =>
        Container(name, ContainerState.Exited, attempt, code, ago ?? TimeSpan.FromSeconds(1), ran ?? TimeSpan.FromSeconds(5), sandbox);

    private StateBuilder Container(
        string name, ContainerState state, int attempt, int code = 0, TimeSpan ago = default, TimeSpan ran = default, string sandbox = "sandbox-0")
    {
        State.Container(name).Observe(new ContainerStatus
        {
            Id = $"{name}-{attempt}",
            Pod = State.Pod.Identity,
            Name = name,
            Attempt = attempt,
            SandboxId = sandbox,
            State = state,
            ExitCode = code,
            Image = "busybox:1.36",
            CreatedAt = Now - ago - ran,
            StartedAt = state == ContainerState.Created ? null : Now - ago - ran,
            FinishedAt = state == ContainerState.Exited ? Now - ago : null,
        });
        return this;
    }

    public PodDecision Decide(TimeSpan after = default) => PodPlan.Decide(State, Now + after);

    /// <summary>The actions as text, in order.</summary>
    public string Actions(TimeSpan after = default) => string.Join(' ', Decide(after).Actions.Select(
        action => action.Container.Length == 0 ? action.Kind.ToString() : $"{action.Kind}:{action.Container}"));

    public PodStatusModel Status(TimeSpan after = default) => new PodStatusBuilder("10.0.0.1", "docker").Build(State, Now + after, []);
}
