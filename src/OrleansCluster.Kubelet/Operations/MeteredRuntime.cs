using OrleansCluster.Kubelet.Images;
using OrleansCluster.Kubelet.Runtime;
using static OrleansCluster.Kubelet.Operations.KubeletTelemetry;

namespace OrleansCluster.Kubelet.Operations;

/// <summary>Any runtime with its operations counted and timed. Streams and events go through as they are.</summary>
internal sealed class MeteredRuntime(IContainerRuntime inner) : IContainerRuntime
{
    public IImageStore Images => inner.Images;

    public Task<RuntimeVersion> GetVersionAsync(CancellationToken cancellationToken) =>
        Operation.Version.RunAsync(() => inner.GetVersionAsync(cancellationToken));

    public Task PrepareAsync(CancellationToken cancellationToken) => inner.PrepareAsync(cancellationToken);

    public Task<SandboxStatus> CreateSandboxAsync(SandboxSpec spec, CancellationToken cancellationToken) =>
        Operation.CreateSandbox.RunAsync(() => inner.CreateSandboxAsync(spec, cancellationToken));

    public Task<SandboxStatus> StartSandboxAsync(string sandboxId, CancellationToken cancellationToken) =>
        Operation.RunSandbox.RunAsync(() => inner.StartSandboxAsync(sandboxId, cancellationToken));

    public Task<SandboxStatus?> InspectSandboxAsync(string sandboxId, CancellationToken cancellationToken) => inner.InspectSandboxAsync(sandboxId, cancellationToken);

    public Task RemoveSandboxAsync(string sandboxId, CancellationToken cancellationToken) =>
        Operation.RemoveSandbox.RunAsync(() => inner.RemoveSandboxAsync(sandboxId, cancellationToken));

    public Task<IReadOnlyList<SandboxStatus>> ListSandboxesAsync(CancellationToken cancellationToken) =>
        Operation.ListSandboxes.RunAsync(() => inner.ListSandboxesAsync(cancellationToken));

    public Task<string> CreateContainerAsync(string sandboxId, ContainerSpec spec, CancellationToken cancellationToken) =>
        Operation.CreateContainer.RunAsync(() => inner.CreateContainerAsync(sandboxId, spec, cancellationToken));

    public Task StartContainerAsync(string containerId, CancellationToken cancellationToken) =>
        Operation.StartContainer.RunAsync(() => inner.StartContainerAsync(containerId, cancellationToken));

    public Task StopContainerAsync(string containerId, CancellationToken cancellationToken) =>
        Operation.StopContainer.RunAsync(() => inner.StopContainerAsync(containerId, cancellationToken));

    public Task KillContainerAsync(string containerId, CancellationToken cancellationToken) =>
        Operation.KillContainer.RunAsync(() => inner.KillContainerAsync(containerId, cancellationToken));

    public Task RemoveContainerAsync(string containerId, CancellationToken cancellationToken) =>
        Operation.RemoveContainer.RunAsync(() => inner.RemoveContainerAsync(containerId, cancellationToken));

    public Task<ContainerStatus?> InspectContainerAsync(string containerId, CancellationToken cancellationToken) =>
        Operation.InspectContainer.RunAsync(() => inner.InspectContainerAsync(containerId, cancellationToken));

    public Task<IReadOnlyList<ContainerStatus>> ListContainersAsync(CancellationToken cancellationToken) =>
        Operation.ListContainers.RunAsync(() => inner.ListContainersAsync(cancellationToken));

    public IAsyncEnumerable<RuntimeEvent> WatchEventsAsync(CancellationToken cancellationToken) => inner.WatchEventsAsync(cancellationToken);

    public Task ReadLogsAsync(string containerId, LogQuery query, Stream stdout, Stream stderr, CancellationToken cancellationToken) =>
        inner.ReadLogsAsync(containerId, query, stdout, stderr, cancellationToken);

    public Task<IProcessSession> ExecAsync(string containerId, ExecSpec spec, CancellationToken cancellationToken) =>
        Operation.Exec.RunAsync(() => inner.ExecAsync(containerId, spec, cancellationToken));

    public Task<IProcessSession> AttachAsync(string containerId, AttachSpec spec, CancellationToken cancellationToken) =>
        inner.AttachAsync(containerId, spec, cancellationToken);

    public Task<Stream> ConnectAsync(string sandboxId, int port, CancellationToken cancellationToken) => inner.ConnectAsync(sandboxId, port, cancellationToken);

    public Task<ContainerStats?> GetStatsAsync(string containerId, CancellationToken cancellationToken) => inner.GetStatsAsync(containerId, cancellationToken);

    public ValueTask DisposeAsync() => inner.DisposeAsync();
}
