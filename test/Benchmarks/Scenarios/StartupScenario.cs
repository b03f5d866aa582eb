namespace OrleansCluster.Benchmarks.Scenarios;

/// <summary>From the start of the process until the API is ready.</summary>
internal sealed class StartupScenario : IScenario
{
    private const int Repeats = 5;

    /// <summary>Seconds from start to ready of the peer's control plane.</summary>
    private const double PeerSeconds = 3.2;

    public string Name => "startup";

    public string Description => "process start to /readyz, on an empty data folder and on one that was used before";

    public async Task RunAsync(BenchmarkContext context)
    {
        var first = new List<double>();
        var again = new List<double>();
        for (var i = 0; i < Repeats; i++)
        {
            var data = Directory.CreateTempSubdirectory("orleanscluster-bench-").FullName;
            try
            {
                await using (var server = await ServerProcess.StartAsync(context.Settings.Server, data, [], context.Cancellation))
                    first.Add(server.StartDuration.TotalSeconds);
                await using (var server = await ServerProcess.StartAsync(context.Settings.Server, data, [], context.Cancellation))
                    again.Add(server.StartDuration.TotalSeconds);
            }
            finally
            {
                Directory.Delete(data, recursive: true);
            }
        }
        context.Report.Add("ready", Median(first), "s", new Peer(PeerSeconds, HigherIsBetter: false), ("data", "empty"), ("repeats", Repeats));
        context.Report.Add("ready", Median(again), "s", new Peer(PeerSeconds, HigherIsBetter: false), ("data", "used"), ("repeats", Repeats));
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);
}
