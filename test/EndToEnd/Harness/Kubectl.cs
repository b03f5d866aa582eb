using System.Diagnostics;
using System.Text.Json.Nodes;

namespace OrleansCluster.EndToEnd.Harness;

/// <summary>The unmodified kubectl on the PATH, with one cluster's kubeconfig and a discovery cache of its own.</summary>
internal sealed class Kubectl(string kubeconfig, string cache)
{
    /// <summary>Runs kubectl to its end and returns what it printed, whatever the exit code.</summary>
    public Task<CommandResult> TryAsync(string arguments, string? input = null, TimeSpan? limit = null) =>
        TryAsync(Split(arguments), input, limit);

    public Task<CommandResult> TryAsync(IEnumerable<string> arguments, string? input = null, TimeSpan? limit = null) =>
        Command.RunAsync("kubectl", [.. Always, .. arguments], limit, input, cancellation: TestContext.Current.CancellationToken);

    /// <summary>Runs kubectl to its end and returns its output; any other exit code than 0 fails the test.</summary>
    public async Task<string> RunAsync(string arguments, string? input = null, TimeSpan? limit = null) =>
        (await TryAsync(arguments, input, limit)).OrFail().Output;

    public async Task<string> RunAsync(IEnumerable<string> arguments, string? input = null, TimeSpan? limit = null) =>
        (await TryAsync(arguments, input, limit)).OrFail().Output;

    /// <summary>Applies a manifest given as text.</summary>
    public Task<string> ApplyAsync(string manifest) => RunAsync("apply -f -", manifest);

    public async Task<JsonNode> GetAsync(string what) =>
        JsonNode.Parse(await RunAsync($"get {what} -o json")) ?? throw new InvalidOperationException("kubectl printed null.");

    public async Task<IReadOnlyList<Pod>> PodsAsync(string selection = "") =>
        [.. (await GetAsync($"pods {selection}"))["items"]!.AsArray().Select(pod => new Pod(pod!))];

    /// <summary>Starts kubectl without waiting for its end (logs -f, get --watch); the caller kills and disposes it.</summary>
    public Process Start(string arguments) => Command.Start("kubectl", [.. Always, .. Split(arguments)]);

    private string[] Always => ["--kubeconfig", kubeconfig, "--cache-dir", cache];

    private static string[] Split(string arguments) => arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}

/// <summary>The few fields of a pod that these tests look at.</summary>
internal sealed class Pod(JsonNode json)
{
    public string Name => (string)json["metadata"]!["name"]!;

    public string Uid => (string)json["metadata"]!["uid"]!;

    public string? Node => (string?)json["spec"]!["nodeName"];

    public string? Ip => (string?)json["status"]?["podIP"];

    public string? Phase => (string?)json["status"]?["phase"];

    public bool IsDeleting => json["metadata"]!["deletionTimestamp"] is not null;

    public bool IsReady => Condition("Ready") == "True";

    /// <summary>Runs, is ready and is not on its way out.</summary>
    public bool Serves => Phase == "Running" && IsReady && !IsDeleting;

    public int Restarts => Containers.Sum(container => (int)container["restartCount"]!);

    /// <summary>The engine's identifiers of the pod's containers, without their scheme.</summary>
    public IReadOnlyList<string> ContainerIds =>
        [.. Containers.Select(container => ((string?)container["containerID"] ?? "").Replace("docker://", "", StringComparison.Ordinal))];

    /// <summary>Why the containers wait, e.g. CrashLoopBackOff.</summary>
    public IReadOnlyList<string> WaitingReasons =>
        [.. Containers.Select(container => (string?)container["state"]?["waiting"]?["reason"]).OfType<string>()];

    public string? Condition(string type) =>
        (string?)json["status"]?["conditions"]?.AsArray().FirstOrDefault(condition => (string?)condition!["type"] == type)?["status"];

    private IEnumerable<JsonNode> Containers => json["status"]?["containerStatuses"]?.AsArray().OfType<JsonNode>() ?? [];

    public override string ToString() =>
        $"{Name}: {Phase}{(IsReady ? ", ready" : "")}{(IsDeleting ? ", deleting" : "")}, node {Node}, {Restarts} restarts {string.Join(' ', WaitingReasons)}";
}
