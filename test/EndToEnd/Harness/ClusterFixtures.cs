// Processes, signals and kernel rules: these tests are for the systems the cluster runs on.
[assembly: System.Runtime.Versioning.UnsupportedOSPlatform("windows")]

// Two cores, one engine, one set of kernel rules: clusters of these tests take turns.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace OrleansCluster.EndToEnd.Harness;

/// <summary>One cluster for all tests of a class.</summary>
public abstract class ClusterFixture : IAsyncLifetime
{
    private ClusterProcess? _cluster;

    internal ClusterProcess Cluster => _cluster ?? throw new InvalidOperationException("The cluster did not start.");

    private protected abstract ClusterOptions Options { get; }

    public async ValueTask InitializeAsync()
    {
        _cluster = await ClusterProcess.LaunchAsync(Options);
        await PrepareAsync();
    }

    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        if (_cluster is not null)
            await _cluster.DisposeAsync();
    }

    /// <summary>What every test of the class finds in the cluster.</summary>
    private protected virtual Task PrepareAsync() => Task.CompletedTask;
}

/// <summary>One node with simulated containers.</summary>
public sealed class HollowCluster : ClusterFixture
{
    private protected override ClusterOptions Options => new() { Runtime = "hollow" };
}

/// <summary>One node with real containers.</summary>
public sealed class DockerCluster : ClusterFixture
{
    private protected override ClusterOptions Options => new();
}

/// <summary>A class of tests on a shared cluster; a failed test shows the end of the cluster's log.</summary>
public abstract class ClusterTests(ClusterFixture fixture) : IDisposable
{
    private protected ClusterProcess Cluster { get; } = fixture.Cluster;

    private protected Kubectl Kubectl => Cluster.Kubectl;

    public void Dispose()
    {
        GC.SuppressFinalize(this);
        if (TestContext.Current.TestState?.Result == TestResult.Failed)
            TestContext.Current.TestOutputHelper?.WriteLine("The cluster's log:\n" + Cluster.LogTail(100));
    }
}
