namespace OrleansCluster.ControlPlane.Tests.Harness;

/// <summary>A cluster that the tests of one class share; each test takes a namespace of it.</summary>
internal sealed class Shared(TestClusterOptions options) : IAsyncLifetime
{
    private int _spaces;

    public TestCluster Cluster { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Cluster = await TestCluster.StartAsync(options);

    public async Task<Space> SpaceAsync()
    {
        var name = $"space-{Interlocked.Increment(ref _spaces)}";
        await Cluster.CreateAsync("namespaces", $$"""{"metadata":{"name":"{{name}}"} }""");
        return new Space(Cluster, name);
    }

    public async ValueTask DisposeAsync() => await Cluster.DisposeAsync();
}
