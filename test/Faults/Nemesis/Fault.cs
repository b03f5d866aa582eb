using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.Faults.Nemesis;

/// <summary>What a nemesis does to a process.</summary>
internal enum FaultKind
{
    /// <summary>SIGKILL, then started again.</summary>
    Kill,

    /// <summary>SIGSTOP for seconds, then SIGCONT: the process goes on as if no time had passed.</summary>
    Pause,

    /// <summary>SIGTERM, then started again.</summary>
    Restart,

    /// <summary>All packets to and from its ports are dropped for seconds.</summary>
    CutOff,

    /// <summary>The master of Redis dies and its replica takes over.</summary>
    FailOver,

    /// <summary>The same, and the replica lacks the last writes because it was cut off before.</summary>
    FailOverLosing,
}

/// <summary>One fault: what is done to which process, and for how long.</summary>
internal sealed record Fault(FaultKind Kind, string Victim, TimeSpan Duration)
{
    /// <summary>Which sort of process, e.g. `silo`.</summary>
    public string Role => Victim.Split('-')[0];

    public override string ToString() => $"{Kind} {Victim} for {Duration.TotalSeconds:0.0} s";
}

/// <summary>Packet filter rules that drop what goes to and from ports of this test; needs root.</summary>
internal static class PacketFilter
{
    private const string Comment = "orleanscluster-faults";

    public static bool IsAvailable { get; } = Environment.UserName == "root" && File.Exists("/usr/sbin/iptables");

    public static Task CutAsync(IEnumerable<int> ports) => EachAsync("-I", ports);

    public static Task HealAsync(IEnumerable<int> ports) => EachAsync("-D", ports);

    private static async Task EachAsync(string action, IEnumerable<int> ports)
    {
        foreach (var port in ports)
        {
            foreach (var direction in (string[])["--dport", "--sport"])
            {
                (await Command.RunAsync(
                    "iptables",
                    ["-w", action, "INPUT", "-i", "lo", "-p", "tcp", direction, $"{port}", "-m", "comment", "--comment", Comment, "-j", "DROP"])).OrFail();
            }
        }
    }
}

/// <summary>Makes faults by a seed, one after another or two at a time, with calm in between; everything is whole again when it ends.</summary>
internal sealed class FaultMaker(FaultCluster cluster, int seed, Action<string> log)
{
    private static readonly TimeSpan StopLimit = TimeSpan.FromSeconds(30);
    private readonly Random _random = new(seed);
    private readonly List<Fault> _done = [];

    /// <summary>What was done so far.</summary>
    public IReadOnlyList<Fault> Done
    {
        get
        {
            lock (_done)
                return [.. _done];
        }
    }

    /// <summary>Every kind of fault on every kind of process once, in an order that the seed decides.</summary>
    public IReadOnlyList<Fault> EveryKind()
    {
        var faults = new List<Fault>();
        foreach (var pool in (IReadOnlyList<RoleProcess>[])[cluster.Silos, cluster.ApiServers, cluster.Kubelets, [cluster.Redis]])
        {
            foreach (var kind in (FaultKind[])[FaultKind.Kill, FaultKind.Pause, FaultKind.Restart, FaultKind.CutOff])
            {
                var victim = pool[_random.Next(pool.Count)];
                if (kind != FaultKind.CutOff || (victim.Ports.Count > 0 && PacketFilter.IsAvailable))
                    faults.Add(new Fault(kind, victim.Name, Duration(kind)));
            }
        }
        var order = faults.ToArray();
        _random.Shuffle(order);
        return order;
    }

    /// <summary>Failovers of Redis, with a kill of each other sort of process in between.</summary>
    /// <param name="losing">Whether the replica lacks the last writes.</param>
    public IReadOnlyList<Fault> FailOvers(bool losing)
    {
        var failOver = new Fault(losing ? FaultKind.FailOverLosing : FaultKind.FailOver, cluster.Redis.Name, TimeSpan.FromMilliseconds(_random.Next(300, 1500)));
        return
        [
            failOver, new Fault(FaultKind.Kill, cluster.Silos[_random.Next(cluster.Silos.Count)].Name, Duration(FaultKind.Kill)),
            failOver, new Fault(FaultKind.Kill, cluster.ApiServers[_random.Next(cluster.ApiServers.Count)].Name, Duration(FaultKind.Kill)),
        ];
    }

    /// <summary>What has a network of its own is cut off from everything, for moments and for longer than the others wait; what comes between meets it weakened.</summary>
    public IReadOnlyList<Fault> PulledCables()
    {
        var apart = cluster.All.Where(r => r.Network is not null).ToArray();
        return
        [
            .. apart.Select(r => new Fault(FaultKind.CutOff, r.Name, TimeSpan.FromMilliseconds(_random.Next(300, 1500)))),
            .. apart.Select(r => new Fault(FaultKind.CutOff, r.Name, TimeSpan.FromMilliseconds(_random.Next(6000, 9000)))),
            new Fault(FaultKind.Kill, cluster.Silos[0].Name, TimeSpan.FromSeconds(1)),
            new Fault(FaultKind.CutOff, cluster.Silos[^1].Name, TimeSpan.FromMilliseconds(_random.Next(500, 9000))),
        ];
    }

    /// <summary>Any fault.</summary>
    public Fault Next()
    {
        var victims = cluster.All.ToList();
        while (true)
        {
            var victim = victims[_random.Next(victims.Count)];
            var kind = (FaultKind)_random.Next(4);
            if (kind != FaultKind.CutOff || (victim.Ports.Count > 0 && PacketFilter.IsAvailable))
                return new Fault(kind, victim.Name, Duration(kind));
        }
    }

    /// <summary>How long it is calm between two faults: sometimes hardly at all.</summary>
    public TimeSpan Calm() => TimeSpan.FromMilliseconds(_random.Next(500, 5000));

    /// <summary>Whether two faults shall come at once.</summary>
    public bool Together() => _random.Next(4) == 0;

    public async Task DoAsync(Fault fault)
    {
        var victim = cluster.All.Single(r => r.Name == fault.Victim);
        log(fault.ToString());
        switch (fault.Kind)
        {
            case FaultKind.Kill:
                await victim.KillAsync();
                await Task.Delay(fault.Duration);
                victim.Start();
                break;
            case FaultKind.Restart:
                await victim.StopAsync(StopLimit);
                await Task.Delay(fault.Duration);
                victim.Start();
                break;
            case FaultKind.FailOver or FaultKind.FailOverLosing:
                await cluster.Sentinels!.FailOverAsync(fault.Kind == FaultKind.FailOverLosing, fault.Duration);
                break;
            case FaultKind.Pause:
                victim.Pause();
                try
                {
                    await Task.Delay(fault.Duration);
                }
                finally
                {
                    victim.Continue();
                }
                break;
            default:
                await (victim.Network?.CutAsync() ?? PacketFilter.CutAsync(victim.Ports));
                try
                {
                    await Task.Delay(fault.Duration);
                }
                finally
                {
                    await (victim.Network?.HealAsync() ?? PacketFilter.HealAsync(victim.Ports));
                }
                break;
        }
        lock (_done)
            _done.Add(fault);
    }

    private TimeSpan Duration(FaultKind kind) => TimeSpan.FromMilliseconds(kind switch
    {
        FaultKind.Kill => _random.Next(4) == 0 ? 6000 : _random.Next(1500),
        FaultKind.Restart => _random.Next(500),
        // Long enough, at times, that the others give the process up while it thinks itself alive.
        _ => _random.Next(500, 9000),
    });
}
