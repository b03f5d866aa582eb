namespace OrleansCluster.Benchmarks;

/// <summary>One benchmark.</summary>
internal interface IScenario
{
    /// <summary>Name on the command line.</summary>
    string Name { get; }

    /// <summary>What it measures, in one line.</summary>
    string Description { get; }

    /// <summary>Runs it and reports its figures.</summary>
    Task RunAsync(BenchmarkContext context);
}

/// <summary>What the command line asks for.</summary>
internal sealed record BenchmarkSettings
{
    public int? Nodes { get; init; }

    public int? Pods { get; init; }

    public required TimeSpan Duration { get; init; }

    public required bool Http2 { get; init; }

    public required string Server { get; init; }
}

/// <summary>What a scenario works with.</summary>
internal sealed record BenchmarkContext(BenchmarkSettings Settings, Report Report, CancellationToken Cancellation)
{
    /// <summary>Starts a server with an empty data folder, without nodes unless the arguments ask for some.</summary>
    public Task<ServerProcess> StartServerAsync(params string[] arguments) => ServerProcess.StartAsync(Settings.Server, arguments, Cancellation);

    /// <summary>Connections to a server as its administrator.</summary>
    public LoadClient Connect(ServerProcess server) => new(server, Settings.Http2);
}
