using System.Net;
using StackExchange.Redis;

namespace OrleansCluster.Hosting.Clustering;

/// <summary>
/// How a process of a cluster finds the others: through Redis, which silos and API servers need anyway, or through the gateways of silos it is told,
/// which is all that nodes need.
/// </summary>
internal sealed record ClusterAddress
{
    /// <summary>Orleans' ClusterId and ServiceId; two clusters on one Redis need two.</summary>
    public const string DefaultClusterId = "orleanscluster";

    /// <summary>The cluster's name.</summary>
    public string ClusterId { get; init; } = DefaultClusterId;

    /// <summary>Redis in StackExchange.Redis' syntax, or the empty string.</summary>
    public string Redis { get; init; } = "";

    /// <summary>File with Redis' password, or the empty string.</summary>
    public string RedisPasswordFile { get; init; } = "";

    /// <summary>Replicas of Redis that must have a write before it is acknowledged.</summary>
    public int RedisMinReplicas { get; init; }

    /// <summary>Gateways of silos, where there is no <see cref="Redis"/>. Names are looked up anew at every refresh: a container keeps its name, not its address.</summary>
    public IReadOnlyList<DnsEndPoint> Gateways { get; init; } = [];

    /// <summary>Everything in this process, for tests; nothing else is looked at then.</summary>
    public LocalCluster? Local { get; init; }

    /// <summary>The connection of Orleans' membership. It has one of its own, so that a silo's sign of life never waits behind a batch of commits.</summary>
    public ConfigurationOptions MembershipConnection()
    {
        var configuration = ConfigurationOptions.Parse(Redis);
        if (RedisPasswordFile.Length > 0)
            configuration.Password = File.ReadAllText(RedisPasswordFile).TrimEnd();
        configuration.ClientName = "orleanscluster-membership";
        configuration.AbortOnConnectFail = false;
        configuration.AsyncTimeout = configuration.SyncTimeout = 2000;
        configuration.ConnectTimeout = 2000;
        configuration.ReconnectRetryPolicy = new ExponentialRetry(100, 1000);
        // The next sign of life is more use than a late one.
        configuration.BacklogPolicy = BacklogPolicy.FailFast;
        return configuration;
    }
}
