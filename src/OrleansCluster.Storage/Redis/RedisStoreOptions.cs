using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace OrleansCluster.Storage;

/// <summary>Settings of the Redis store.</summary>
public sealed class RedisStoreOptions
{
    /// <summary>
    /// Where Redis is, in StackExchange.Redis' syntax: `host:port`, several of them for a Redis Cluster, or the sentinels with `serviceName=NAME`;
    /// further settings (`ssl=true`, `user=`, `password=`, `defaultDatabase=`) after commas.
    /// </summary>
    public string ConnectionString { get; set; } = "";

    /// <summary>File that holds the password, so that it stands neither in the configuration nor in the process list. Trailing white space is cut. Empty: none.</summary>
    public string PasswordFile { get; set; } = "";

    /// <summary>What the names of all keys begin with. Two clusters on one Redis need two prefixes. Default `oc`; letters, digits, `.`, `_`, `-`.</summary>
    public string KeyPrefix { get; set; } = "oc";

    /// <summary>
    /// Connections for commits. Default 4, range 1 to 32. With `appendfsync always` Redis takes 16 KiB from each connection between two flushes of its
    /// file, so several fill a flush. It is also how many batches of one resource are under way at a time.
    /// </summary>
    public int CommitConnections { get; set; } = 4;

    /// <summary>Most commits in one script call. Default 64, range 1 to 256. Redis serves nothing else while a script runs (about 10 us per commit).</summary>
    public int MaxGroup { get; set; } = 64;

    /// <summary>Most commit calls waiting or under way; later ones wait before they enter (back-pressure). Default 8,192, range 1 to 1,000,000.</summary>
    public int MaxWaitingWrites { get; set; } = 8192;

    /// <summary>Time after which a command without an answer counts as failed, its outcome unknown. Default 5 s, range 0.1 to 60 s.</summary>
    public TimeSpan CommandTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Time for one attempt to connect. Default 5 s, range 0.1 to 60 s.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Replicas that must have a commit before it is acknowledged (WAIT, or WAITAOF from Redis 7.2 on). Default 0, range 0 to 16. Fewer within
    /// <see cref="ReplicaTimeout"/>: <see cref="StoreUnavailableException"/>, the outcome unknown.
    /// </summary>
    public int MinReplicas { get; set; }

    /// <summary>How long to wait for replicas. Default 1 s, range 10 ms to <see cref="CommandTimeout"/>.</summary>
    public TimeSpan ReplicaTimeout { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Takes it for granted that a Redis that was restarted has lost no acknowledged write, where CONFIG GET is forbidden and cannot show it. Default
    /// false: a restart of a Redis whose settings cannot be read, or are not `appendonly yes` and `appendfsync always`, begins a new epoch (watchers
    /// start from a new list). Has no effect with Sentinel or Redis Cluster, where another server may have taken over.
    /// </summary>
    public bool TrustDurability { get; set; }

    /// <summary>What the background compaction keeps.</summary>
    public CompactionOptions Compaction { get; set; } = new();

    /// <summary>The name of a connection on the server: it tells whose store is in use.</summary>
    internal static string ClientName(string keyPrefix, string purpose) => $"orleanscluster-{keyPrefix}/{purpose}";

    /// <summary>The client's settings; the caller adds what differs per connection.</summary>
    internal ConfigurationOptions ToConfiguration(string purpose)
    {
        var configuration = ConfigurationOptions.Parse(ConnectionString);
        if (PasswordFile.Length > 0)
            configuration.Password = File.ReadAllText(PasswordFile).TrimEnd();
        configuration.ClientName = ClientName(KeyPrefix, purpose);
        configuration.AbortOnConnectFail = false;
        // CONFIG GET, to see whether what is acknowledged stays.
        configuration.AllowAdmin = true;
        configuration.AsyncTimeout = configuration.SyncTimeout = (int)CommandTimeout.TotalMilliseconds;
        configuration.ConnectTimeout = (int)ConnectTimeout.TotalMilliseconds;
        // Exponential with jitter; an outage of any length is waited out.
        configuration.ReconnectRetryPolicy = new ExponentialRetry(100, 2000);
        // A command that cannot be sent fails at once: its caller decides whether to try again, and nothing is sent after a reconnect unseen.
        configuration.BacklogPolicy = BacklogPolicy.FailFast;
        configuration.IncludeDetailInExceptions = false;
        return configuration;
    }
}

/// <summary>Checks <see cref="RedisStoreOptions"/> as a whole when the host starts.</summary>
public sealed class RedisStoreOptionsValidator : IValidateOptions<RedisStoreOptions>
{
    /// <inheritdoc/>
    public ValidateOptionsResult Validate(string? name, RedisStoreOptions options)
    {
        List<string> errors = [];
        if (string.IsNullOrWhiteSpace(options.ConnectionString))
        {
            errors.Add("RedisStore:ConnectionString is empty; give HOST:PORT of a Redis server.");
        }
        else
        {
            try
            {
                if (ConfigurationOptions.Parse(options.ConnectionString).EndPoints.Count == 0)
                    errors.Add("RedisStore:ConnectionString names no server; give HOST:PORT.");
            }
            catch (ArgumentException e)
            {
                errors.Add($"RedisStore:ConnectionString cannot be read: {e.Message}");
            }
        }
        if (options.PasswordFile.Length > 0 && !File.Exists(options.PasswordFile))
            errors.Add($"RedisStore:PasswordFile '{options.PasswordFile}' does not exist.");
        if (options.KeyPrefix.Length is 0 or > 64 || !options.KeyPrefix.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-'))
            errors.Add($"RedisStore:KeyPrefix is '{options.KeyPrefix}'; use 1 to 64 letters, digits, '.', '_' or '-'.");
        Range(nameof(options.CommitConnections), options.CommitConnections, 1, 32);
        Range(nameof(options.MaxGroup), options.MaxGroup, 1, 256);
        Range(nameof(options.MaxWaitingWrites), options.MaxWaitingWrites, 1, 1_000_000);
        Range("CommandTimeout (ms)", (long)options.CommandTimeout.TotalMilliseconds, 100, 60_000);
        Range("ConnectTimeout (ms)", (long)options.ConnectTimeout.TotalMilliseconds, 100, 60_000);
        Range(nameof(options.MinReplicas), options.MinReplicas, 0, 16);
        Range("ReplicaTimeout (ms)", (long)options.ReplicaTimeout.TotalMilliseconds, 10, (long)options.CommandTimeout.TotalMilliseconds);
        options.Compaction.Validate("RedisStore", errors);
        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);

        void Range(string option, long value, long low, long high)
        {
            if (value < low || value > high)
                errors.Add($"RedisStore:{option} is {value}; it must lie between {low} and {high}.");
        }
    }
}
