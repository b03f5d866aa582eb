using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Net;
using OrleansCluster.ControlPlane;
using OrleansCluster.Hosting.Clustering;
using StackExchange.Redis;

namespace OrleansCluster.Commands;

/// <summary>Options that several roles have, each told the same way everywhere.</summary>
internal static class RoleOptions
{
    /// <summary>`--data`.</summary>
    public static Option<DirectoryInfo> Data(string description) =>
        new("--data") { Description = description, DefaultValueFactory = _ => new DirectoryInfo(".cluster") };

    /// <summary>`--log-level`.</summary>
    public static Option<LogLevel> Verbosity() => new("--log-level") { Description = "Least level of log lines.", DefaultValueFactory = _ => LogLevel.Information };

    /// <summary>`--dashboard`.</summary>
    public static Option<bool> Dashboard() => new("--dashboard")
    {
        Description = "Serve the Orleans dashboard at /dashboard of the API's port; silos and API servers need it both. Costs every grain call a little.",
    };

    /// <summary>A port.</summary>
    public static Option<int> Port(string name, string description, int standard)
    {
        var option = new Option<int>(name) { Description = description, DefaultValueFactory = _ => standard };
        option.Validators.Add(result => Range(result, 0, 65_535));
        return option;
    }

    /// <summary>A number of things, 0 for as many as come.</summary>
    public static Option<int> Count(string name, string description, int standard)
    {
        var option = new Option<int>(name) { Description = description, DefaultValueFactory = _ => standard };
        option.Validators.Add(result => Range(result, 0, 1_000_000));
        return option;
    }

    /// <summary>An address of this machine.</summary>
    public static Option<IPAddress> Address(string name, string description) => new(name)
    {
        Description = description,
        CustomParser = result => IPAddress.TryParse(result.Tokens[0].Value, out var parsed) ? parsed : Fail<IPAddress>(result, "is not an IP address"),
        DefaultValueFactory = _ => IPAddress.Loopback,
    };

    /// <summary>A number within bounds.</summary>
    public static void Range(OptionResult result, int least, int most)
    {
        // Validators run for what could not be parsed too; that has its own message, so only a number is looked at here.
        if (result.Tokens is [var token] && int.TryParse(token.Value, NumberStyles.Integer, CultureInfo.InvariantCulture, out var value) && (value < least || value > most))
            result.AddError($"{result.Option.Name} must be between {least} and {most}.");
    }

    /// <summary>Adds an error to what could not be parsed.</summary>
    public static T? Fail<T>(ArgumentResult result, string why)
    {
        result.AddError($"'{result.Tokens[0].Value}' {why}.");
        return default;
    }

    /// <summary>Runs a role until it is told to end; a start that cannot succeed is told in one line.</summary>
    public static async Task<int> RunAsync(Func<IHost> build, CancellationToken cancellationToken)
    {
        try
        {
            var host = build();
            try
            {
                await host.RunAsync(cancellationToken);
                return 0;
            }
            finally
            {
                if (host is IAsyncDisposable disposable)
                    await disposable.DisposeAsync();
                else
                    host.Dispose();
            }
        }
        catch (Exception error) when (StartFailure.Explain(error) is { } explanation)
        {
            await Console.Error.WriteLineAsync(explanation);
            return 1;
        }
    }
}

/// <summary>Where the cluster is: `--redis`, `--redis-password-file`, `--cluster-id`, and `--gateway` for roles that need no store.</summary>
internal sealed class ClusterAddressOptions
{
    private readonly Option<string> _redis = new("--redis") { Description = "Redis, in the syntax of StackExchange.Redis: HOST:PORT,..." };
    private readonly Option<FileInfo?> _password = new("--redis-password-file") { Description = "File with the password of Redis." };
    private readonly Option<int> _minReplicas = new("--redis-min-replicas") { Description = "Replicas of Redis that must have a write before it is acknowledged.", DefaultValueFactory = _ => 0 };
    private readonly Option<string> _id = new("--cluster-id")
    {
        Description = "Name of the cluster; two on one Redis need two.",
        DefaultValueFactory = _ => ClusterAddress.DefaultClusterId,
    };

    private readonly Option<DnsEndPoint[]>? _gateways;

    /// <summary>The options of a role.</summary>
    /// <param name="gateways">True for a role that may use gateways instead of Redis.</param>
    /// <param name="required">False where something else may be given instead of any of them.</param>
    public ClusterAddressOptions(bool gateways, bool required = true)
    {
        _redis.Required = !gateways && required;
        _minReplicas.Validators.Add(result => RoleOptions.Range(result, 0, 16));
        if (gateways)
        {
            _gateways = new Option<DnsEndPoint[]>("--gateway")
            {
                Description = "Gateway of a silo, HOST:PORT; may be given several times.",
                CustomParser = ParseGateways,
                AllowMultipleArgumentsPerToken = false,
                Arity = ArgumentArity.ZeroOrMore,
            };
        }
    }

    /// <summary>Adds them to a command.</summary>
    public void AddTo(Command command)
    {
        command.Options.Add(_redis);
        command.Options.Add(_password);
        command.Options.Add(_minReplicas);
        command.Options.Add(_id);
        if (_gateways is not null)
            command.Options.Add(_gateways);
    }

    /// <summary>True if any of them says where the cluster is.</summary>
    public bool IsGiven(ParseResult parsed) =>
        parsed.GetValue(_redis) is { Length: > 0 } || (_gateways is not null && parsed.GetValue(_gateways) is { Length: > 0 });

    /// <summary>What was given.</summary>
    /// <exception cref="StartException">Nothing, or something that cannot be.</exception>
    public ClusterAddress Read(ParseResult parsed)
    {
        var gateways = _gateways is null ? null : parsed.GetValue(_gateways);
        var redis = parsed.GetValue(_redis) ?? "";
        if (!IsGiven(parsed))
            throw new StartException("Where is the cluster? Give --gateway HOST:PORT of a silo, or --redis HOST:PORT.");
        var file = parsed.GetValue(_password);
        if (file is { Exists: false })
            throw new StartException($"--redis-password-file '{file}' does not exist.");
        try
        {
            if (redis.Length > 0 && ConfigurationOptions.Parse(redis).EndPoints.Count == 0)
                throw new StartException($"--redis '{redis}' names no server: give HOST:PORT.");
        }
        catch (ArgumentException error)
        {
            throw new StartException($"--redis cannot be read: {error.Message}");
        }
        return new ClusterAddress
        {
            ClusterId = parsed.GetValue(_id) is { Length: > 0 } id ? id : ClusterAddress.DefaultClusterId,
            Redis = redis,
            RedisPasswordFile = file?.FullName ?? "",
            RedisMinReplicas = parsed.GetValue(_minReplicas),
            Gateways = gateways ?? [],
        };
    }

    private static DnsEndPoint[]? ParseGateways(ArgumentResult result)
    {
        var gateways = new List<DnsEndPoint>();
        foreach (var token in result.Tokens)
        {
            var colon = token.Value.LastIndexOf(':');
            if (colon <= 0 || !int.TryParse(token.Value.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port is < 1 or > 65_535)
            {
                result.AddError($"--gateway '{token.Value}' is not HOST:PORT.");
                return null;
            }
            gateways.Add(new DnsEndPoint(token.Value[..colon].Trim('[', ']'), port));
        }
        return [.. gateways];
    }
}

/// <summary>`--health-address` and `--health-port`, the same on every role.</summary>
internal sealed class HealthOptions
{
    private readonly Option<IPAddress> _address = RoleOptions.Address(
        "--health-address", "Address of /livez, /readyz, /healthz and /metrics in plain HTTP, open to whoever reaches it.");

    private readonly Option<int> _port = RoleOptions.Port("--health-port", "Its port (0: none).", 0);

    /// <summary>Adds them to a command.</summary>
    public void AddTo(Command command)
    {
        command.Options.Add(_address);
        command.Options.Add(_port);
    }

    /// <summary>What was given; null for none.</summary>
    public IPEndPoint? Read(ParseResult parsed) =>
        parsed.GetValue(_port) is > 0 and var port ? new IPEndPoint(parsed.GetRequiredValue(_address), port) : null;
}

/// <summary>Times of the control plane that can be set at the command line.</summary>
internal sealed class ControlPlaneTimes
{
    private readonly Option<double> _gracePeriod = new("--node-monitor-grace-period")
    {
        Description = "Seconds without a heartbeat after which a node counts as lost.",
        DefaultValueFactory = _ => 50,
    };

    private readonly Option<double> _heartbeat = new("--node-heartbeat-interval") { Description = "Seconds between two heartbeats of a node.", DefaultValueFactory = _ => 10 };

    private readonly Option<double> _eviction = new("--default-eviction-delay")
    {
        Description = "Seconds a pod stays on a node that is not ready or unreachable before it is replaced elsewhere.",
        DefaultValueFactory = _ => 300,
    };

    /// <summary>Adds them to a command.</summary>
    public void AddTo(Command command)
    {
        command.Options.Add(_gracePeriod);
        command.Options.Add(_heartbeat);
        command.Options.Add(_eviction);
    }

    /// <summary>Sets what was given.</summary>
    public void Apply(ParseResult parsed, ControlPlaneOptions controlPlane)
    {
        controlPlane.NodeMonitorGracePeriod = TimeSpan.FromSeconds(parsed.GetValue(_gracePeriod));
        controlPlane.NodeHeartbeatInterval = TimeSpan.FromSeconds(parsed.GetValue(_heartbeat));
        controlPlane.DefaultEvictionDelay = TimeSpan.FromSeconds(parsed.GetValue(_eviction));
    }
}
