using System.Collections.Concurrent;
using OrleansCluster.Kubelet.Images;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Tests.Support;

/// <summary>A hollow runtime that counts calls and fails them on demand.</summary>
internal sealed class StubRuntime(HollowRuntime inner) : IContainerRuntime
{
    private readonly ConcurrentDictionary<string, ConcurrentQueue<Exception>> _failures = new(StringComparer.Ordinal);

    public HollowRuntime Inner => inner;

    public ConcurrentDictionary<string, int> Calls { get; } = new(StringComparer.Ordinal);

    /// <summary>Ends a container by its pod's container name.</summary>
    public void Exit(string container, int exitCode, bool outOfMemory = false) => Assert.True(inner.Exit(Running(container).Id, exitCode, outOfMemory));

    public ContainerStatus Running(string container) =>
        Containers().Single(status => status.Name == container && status.State == ContainerState.Running);

#pragma warning disable VSTHRD002 // The hollow runtime's answers are there at once.
    public IReadOnlyList<ContainerStatus> Containers() => inner.ListContainersAsync(CancellationToken.None).GetAwaiter().GetResult();
#pragma warning restore VSTHRD002

    /// <summary>The next call of that verb fails.</summary>
    public void FailNext(string verb, Exception exception) => _failures.GetOrAdd(verb, static _ => new()).Enqueue(exception);

    public IImageStore Images => inner.Images;

    public Task<RuntimeVersion> GetVersionAsync(CancellationToken cancellationToken) => Do("version", () => inner.GetVersionAsync(cancellationToken));

    public Task PrepareAsync(CancellationToken cancellationToken) => Do("prepare", () => inner.PrepareAsync(cancellationToken));

    public Task<SandboxStatus> CreateSandboxAsync(SandboxSpec spec, CancellationToken cancellationToken) =>
        Do("createSandbox", () => inner.CreateSandboxAsync(spec, cancellationToken));

    public Task<SandboxStatus> StartSandboxAsync(string sandboxId, CancellationToken cancellationToken) =>
        Do("startSandbox", () => inner.StartSandboxAsync(sandboxId, cancellationToken));

    public Task<SandboxStatus?> InspectSandboxAsync(string sandboxId, CancellationToken cancellationToken) =>
        inner.InspectSandboxAsync(sandboxId, cancellationToken);

    public Task RemoveSandboxAsync(string sandboxId, CancellationToken cancellationToken) =>
        Do("removeSandbox", () => inner.RemoveSandboxAsync(sandboxId, cancellationToken));

    public Task<IReadOnlyList<SandboxStatus>> ListSandboxesAsync(CancellationToken cancellationToken) => inner.ListSandboxesAsync(cancellationToken);

    public Task<string> CreateContainerAsync(string sandboxId, ContainerSpec spec, CancellationToken cancellationToken)
    {
        Specs.Enqueue(spec);
        return Do("createContainer", () => inner.CreateContainerAsync(sandboxId, spec, cancellationToken));
    }

    public ConcurrentQueue<ContainerSpec> Specs { get; } = new();

    public Task StartContainerAsync(string containerId, CancellationToken cancellationToken) =>
        Do("startContainer", () => inner.StartContainerAsync(containerId, cancellationToken));

    public Task StopContainerAsync(string containerId, CancellationToken cancellationToken) =>
        Do("stopContainer", () => IgnoreStop ? Task.CompletedTask : inner.StopContainerAsync(containerId, cancellationToken));

    /// <summary>Containers ignore SIGTERM.</summary>
    public bool IgnoreStop { get; set; }

    public Task KillContainerAsync(string containerId, CancellationToken cancellationToken) =>
        Do("killContainer", () => inner.KillContainerAsync(containerId, cancellationToken));

    public Task RemoveContainerAsync(string containerId, CancellationToken cancellationToken) =>
        Do("removeContainer", () => inner.RemoveContainerAsync(containerId, cancellationToken));

    public Task<ContainerStatus?> InspectContainerAsync(string containerId, CancellationToken cancellationToken) =>
        inner.InspectContainerAsync(containerId, cancellationToken);

    public Task<IReadOnlyList<ContainerStatus>> ListContainersAsync(CancellationToken cancellationToken) => inner.ListContainersAsync(cancellationToken);

    public IAsyncEnumerable<RuntimeEvent> WatchEventsAsync(CancellationToken cancellationToken) => inner.WatchEventsAsync(cancellationToken);

    public Task ReadLogsAsync(string containerId, LogQuery query, Stream stdout, Stream stderr, CancellationToken cancellationToken) =>
        inner.ReadLogsAsync(containerId, query, stdout, stderr, cancellationToken);

    public Task<IProcessSession> ExecAsync(string containerId, ExecSpec spec, CancellationToken cancellationToken) =>
        inner.ExecAsync(containerId, spec, cancellationToken);

    public Task<IProcessSession> AttachAsync(string containerId, AttachSpec spec, CancellationToken cancellationToken) =>
        inner.AttachAsync(containerId, spec, cancellationToken);

    public Task<Stream> ConnectAsync(string sandboxId, int port, CancellationToken cancellationToken) => inner.ConnectAsync(sandboxId, port, cancellationToken);

    public Task<ContainerStats?> GetStatsAsync(string containerId, CancellationToken cancellationToken) => inner.GetStatsAsync(containerId, cancellationToken);

    // The node that is stopped does not take the runtime with it: the next one adopts what runs.
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private Task Do(string verb, Func<Task> call)
    {
        Count(verb);
        return call();
    }

    private Task<T> Do<T>(string verb, Func<Task<T>> call)
    {
        Count(verb);
        return call();
    }

    private void Count(string verb)
    {
        Calls.AddOrUpdate(verb, 1, static (_, count) => count + 1);
        if (_failures.TryGetValue(verb, out var failures) && failures.TryDequeue(out var exception))
            throw exception;
    }
}
