using System.Diagnostics;

namespace OrleansCluster.Benchmarks.Scenarios;

/// <summary>Plain pods on many nodes: how fast they are created and bound, and how long a controller's replicas take. Nodes are objects without agents.</summary>
internal sealed class SchedulePlainScenario : IScenario
{
    private const int DefaultNodes = 1_000;
    private const int DefaultPods = 2_000;
    private const int Replicas = 1_000;

    public string Name => "schedule-plain";

    public string Description => "plain pods created and bound on --nodes nodes; 1,000 replicas of a controller";

    public async Task RunAsync(BenchmarkContext context)
    {
        var nodes = context.Settings.Nodes ?? DefaultNodes;
        var pods = context.Settings.Pods ?? DefaultPods;
        var comparable = nodes == DefaultNodes;
        await using var server = await context.StartServerAsync();
        using var client = context.Connect(server);
        await client.RunAsync(32, null, nodes, (i, token) => client.SendAsync(HttpMethod.Post, "/api/v1/nodes", Bodies.Node(i), token), context.Cancellation);

        await MeasureAsync(context, server, client, "warm", Math.Min(500, pods), nodes, null);
        await MeasureAsync(context, server, client, "pods", pods, nodes, comparable ? new Peer(223, HigherIsBetter: true) : null);

        using var bound = BoundPods.Follow(client, "app=replicas", context.Cancellation);
        await bound.Connected;
        var begin = Stopwatch.GetTimestamp();
        await client.SendAsync(HttpMethod.Post, "/api/v1/namespaces/default/replicationcontrollers", Bodies.Controller("replicas", Replicas), context.Cancellation);
        await bound.WaitAsync(Replicas);
        context.Report.Add(
            "replicas-bound", Stopwatch.GetElapsedTime(begin).TotalSeconds, "s", comparable ? new Peer(6.1, HigherIsBetter: false) : null,
            ("nodes", nodes), ("replicas", Replicas));
    }

    private static async Task MeasureAsync(BenchmarkContext context, ServerProcess server, LoadClient client, string name, int pods, int nodes, Peer? peer)
    {
        using var bound = BoundPods.Follow(client, "app=bench", context.Cancellation);
        await bound.Connected;
        var before = bound.Count;
        var cpu = server.CpuTime;
        var begin = Stopwatch.GetTimestamp();
        var created = await client.RunAsync(
            32, null, pods,
            (i, token) => client.SendAsync(HttpMethod.Post, "/api/v1/namespaces/default/pods", Bodies.Pod($"{name}-{i}", "default-scheduler"), token), context.Cancellation);
        await bound.WaitAsync(before + pods);
        var elapsed = Stopwatch.GetElapsedTime(begin);
        if (name == "warm")
            return;
        context.Report.Add("created-and-bound", pods / elapsed.TotalSeconds, "pods/s", peer, ("nodes", nodes), ("pods", pods));
        context.Report.Add("created", created.Rate, "pods/s", null, ("nodes", nodes), ("pods", pods));
        context.Report.Add("server-cpu", (server.CpuTime - cpu).TotalMicroseconds / pods, "us/pod", null, ("nodes", nodes), ("pods", pods));
    }

    /// <summary>Counts bound pods by a watch that scans bytes.</summary>
    private sealed class BoundPods : IDisposable
    {
        private readonly CancellationTokenSource _stop;
        private readonly TaskCompletionSource _connected = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly Lock _gate = new();
        private readonly HashSet<string> _bound = new(StringComparer.Ordinal);
        private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

        private BoundPods(CancellationToken cancellationToken)
        {
            _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        }

        public Task Connected => _connected.Task;

        public int Count
        {
            get
            {
                lock (_gate)
                    return _bound.Count;
            }
        }

        private Task Reading { get; set; } = Task.CompletedTask;

        public static BoundPods Follow(LoadClient client, string selector, CancellationToken cancellationToken)
        {
            var pods = new BoundPods(cancellationToken);
            pods.Reading = Task.Run(() => pods.ReadAsync(client, selector), cancellationToken);
            return pods;
        }

        public async Task WaitAsync(int count)
        {
            var limit = TimeSpan.FromMinutes(3);
            while (true)
            {
                Task changed;
                lock (_gate)
                {
                    if (_bound.Count >= count)
                        return;
                    changed = _changed.Task;
                }
                await Task.WhenAny(changed, Reading).WaitAsync(limit, _stop.Token);
                if (Reading.IsFaulted)
                    await Reading;
            }
        }

        public void Dispose() => _stop.Cancel();

        private async Task ReadAsync(LoadClient client, string selector)
        {
            try
            {
                // What is bound already comes first as ADDED; a bookmark-less watch from "0" begins with it.
                using var response = await client.StreamAsync($"/api/v1/namespaces/default/pods?watch=true&labelSelector={Uri.EscapeDataString(selector)}", _stop.Token);
                response.EnsureSuccessStatusCode();
                await using var stream = await response.Content.ReadAsStreamAsync(_stop.Token);
                _connected.TrySetResult();
                var buffer = new byte[256 * 1024];
                var kept = 0;
                while (await stream.ReadAsync(buffer.AsMemory(kept), _stop.Token) is var read and > 0)
                {
                    var rest = buffer.AsSpan(0, kept + read);
                    lock (_gate)
                    {
                        while (rest.IndexOf((byte)'\n') is var end and >= 0)
                        {
                            Take(rest[..end]);
                            rest = rest[(end + 1)..];
                        }
                        var changed = _changed;
                        _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                        changed.TrySetResult();
                    }
                    kept = rest.Length;
                    rest.CopyTo(buffer);
                }
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
                // Nobody waits any more.
            }
            catch (Exception error)
            {
                _connected.TrySetException(error);
                throw;
            }
        }

        private void Take(ReadOnlySpan<byte> line)
        {
            if (line.IndexOf("\"nodeName\":\""u8) < 0)
                return;
            // Read, not searched for: an owner's name may come before the pod's.
            using var change = System.Text.Json.JsonDocument.Parse(line.ToArray());
            _bound.Add(change.RootElement.GetProperty("object").GetProperty("metadata").GetProperty("name").GetString()!);
        }
    }
}
