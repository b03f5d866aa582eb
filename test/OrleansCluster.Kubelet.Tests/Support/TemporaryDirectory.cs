namespace OrleansCluster.Kubelet.Tests.Support;

/// <summary>A directory that goes with the test.</summary>
internal sealed class TemporaryDirectory : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("orleanscluster-kubelet-").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
