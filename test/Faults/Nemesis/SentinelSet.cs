using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.Faults.Nemesis;

/// <summary>A Redis with a replica, and three sentinels that make the replica the master when the master is gone.</summary>
internal sealed class SentinelSet
{
    private const string Service = "faults";
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
    private readonly RoleProcess[] _servers;
    private readonly RoleProcess[] _sentinels;
    private readonly string _folder;

    private readonly bool _guarded;

    /// <param name="folder">For their files.</param>
    /// <param name="guarded">
    /// True: a master without its replica takes no writes, as the project's documentation has it. A master that comes back from the dead believes itself
    /// the master until the sentinels correct it; so guarded it can do no harm.
    /// </param>
    public SentinelSet(string folder, bool guarded)
    {
        _folder = folder;
        _guarded = guarded;
        string[] more = guarded
            ? ["--repl-diskless-sync-delay", "0", "--min-replicas-to-write", "1", "--min-replicas-max-lag", "10"]
            : ["--repl-diskless-sync-delay", "0"];
        int master = RoleProcess.FreePort(), replica = RoleProcess.FreePort();
        _servers =
        [
            FaultCluster.RedisServer("redis-1", master, Sub("redis-1"), more),
            FaultCluster.RedisServer("redis-2", replica, Sub("redis-2"), [.. more, "--replicaof", $"127.0.0.1 {master}"]),
        ];
        _sentinels = [.. Enumerable.Range(1, 3).Select(i => Sentinel(i, master))];
    }

    public RoleProcess First => _servers[0];

    public IEnumerable<RoleProcess> All => [.. _servers, .. _sentinels];

    /// <summary>In the syntax of the program's option for Redis.</summary>
    public string Address => string.Join(',', _sentinels.Select(s => $"127.0.0.1:{s.Ports[0]}")) + $",serviceName={Service}";

    public async Task StartAsync()
    {
        foreach (var server in _servers)
            server.Start();
        await ReplicatesAsync(_servers[0]);
        foreach (var sentinel in _sentinels)
            sentinel.Start();
        foreach (var sentinel in _sentinels)
        {
            await Eventually.GetAsync(
                "the sentinels know each other and the replica", _ => AskAsync(sentinel, "SENTINEL", "MASTER", Service),
                state => Value(state, "num-slaves") == "1" && Value(state, "num-other-sentinels") == "2", Limit);
        }
    }

    /// <summary>The master dies; when the replica has taken over, the dead one comes back as its replica.</summary>
    /// <param name="losing">True: the replica is cut off for this long before, so that it lacks the last writes.</param>
    /// <param name="apart">How long.</param>
    public async Task FailOverAsync(bool losing, TimeSpan apart)
    {
        var port = await MasterAsync();
        var master = _servers.Single(s => s.Ports[0] == port);
        var replica = _servers.Single(s => s != master);
        if (losing)
        {
            await AskAsync(replica, "REPLICAOF", "127.0.0.1", "1");
            await Task.Delay(apart);
        }
        await master.KillAsync();
        await Eventually.GetAsync("the replica has taken over", _ => MasterAsync(), now => now == replica.Ports[0], Limit);
        // Without that guard it is brought back as what it is to be.
        if (_guarded)
            master.Start();
        else
            master.Start("--replicaof", $"127.0.0.1 {replica.Ports[0]}");
        await ReplicatesAsync(replica);
    }

    private async Task<int> MasterAsync() =>
        int.Parse((await AskAsync(_sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", Service)).Split('\n')[1].Trim(), System.Globalization.CultureInfo.InvariantCulture);

    private static Task ReplicatesAsync(RoleProcess master) => Eventually.GetAsync(
        "the replica is in step", _ => AskAsync(master, "INFO", "replication"), state => state.Contains("state=online", StringComparison.Ordinal), Limit);

    private static async Task<string> AskAsync(RoleProcess server, params string[] command) =>
        (await Command.RunAsync("redis-cli", ["-p", $"{server.Ports[0]}", .. command])).OrFail().Output;

    private static string Value(string state, string name)
    {
        var lines = state.Split('\n').Select(l => l.Trim()).ToList();
        var at = lines.IndexOf(name);
        return at < 0 ? "" : lines[at + 1];
    }

    private RoleProcess Sentinel(int number, int master)
    {
        var port = RoleProcess.FreePort();
        var file = Path.Combine(Sub($"sentinel-{number}"), "sentinel.conf");
        File.WriteAllLines(
            file,
            [
                $"port {port}", "bind 127.0.0.1", $"dir {Path.GetDirectoryName(file)}", $"sentinel monitor {Service} 127.0.0.1 {master} 2",
                $"sentinel down-after-milliseconds {Service} 1000", $"sentinel failover-timeout {Service} 5000",
            ]);
        return new RoleProcess($"sentinel-{number}", "redis-server", [file, "--sentinel"], [port]);
    }

    private string Sub(string name) => Directory.CreateDirectory(Path.Combine(_folder, name)).FullName;
}
