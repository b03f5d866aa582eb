using Microsoft.Extensions.Options;

namespace OrleansCluster.Storage;

/// <summary>Settings of the caches of one process; they hold for every resource.</summary>
public sealed class ResourceCacheOptions
{
    /// <summary>
    /// Changes kept per resource for watchers, whatever their age. Default 10,000, range 1 to 1,000,000. A watcher further behind than the history
    /// gets 410 Gone and lists again; a longer history costs the memory of the objects' old versions.
    /// </summary>
    public int HistoryCount { get; set; } = 10_000;

    /// <summary>Age up to which changes are kept beyond <see cref="HistoryCount"/>. Default 1 minute, range 0 to 1 h.</summary>
    public TimeSpan HistoryAge { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>Most bytes of changes kept per resource; it outranks the other two. Default 32 MiB, range 64 KiB to 16 GiB.</summary>
    public long HistoryBytes { get; set; } = 32 << 20;

    /// <summary>Most changes applied at once. Default 1,024, range 1 to 100,000. More costs latency of the first, less costs copies of tree nodes.</summary>
    public int BatchSize { get; set; } = 1024;

    /// <summary>
    /// How long one wait for changes lasts; after an idle one the cache checks that the store has not gone back. Default 30 s, range 0.1 s to 10 min.
    /// </summary>
    public TimeSpan IdleWait { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How long a consistent read waits for the cache to catch up with the store before it fails as unavailable. Default 10 s, range 0.1 s to 10 min.
    /// </summary>
    public TimeSpan ReadTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>First delay after the store did not answer; it doubles, with jitter, up to <see cref="RetryMaxDelay"/>. Default 50 ms, range 1 ms to 1 min.</summary>
    public TimeSpan RetryDelay { get; set; } = TimeSpan.FromMilliseconds(50);

    /// <summary>Longest delay between attempts. Default 2 s, range <see cref="RetryDelay"/> to 10 min. The cache tries for as long as the process lives.</summary>
    public TimeSpan RetryMaxDelay { get; set; } = TimeSpan.FromSeconds(2);
}

/// <summary>Checks <see cref="ResourceCacheOptions"/> as a whole when the host starts.</summary>
public sealed class ResourceCacheOptionsValidator : IValidateOptions<ResourceCacheOptions>
{
    /// <inheritdoc/>
    public ValidateOptionsResult Validate(string? name, ResourceCacheOptions options)
    {
        List<string> errors = [];
        Range(nameof(options.HistoryCount), options.HistoryCount, 1, 1_000_000);
        Range(nameof(options.HistoryBytes), options.HistoryBytes, 1 << 16, 1L << 34);
        Range(nameof(options.BatchSize), options.BatchSize, 1, 100_000);
        Span(nameof(options.HistoryAge), options.HistoryAge, TimeSpan.Zero, TimeSpan.FromHours(1));
        Span(nameof(options.IdleWait), options.IdleWait, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(10));
        Span(nameof(options.ReadTimeout), options.ReadTimeout, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(10));
        Span(nameof(options.RetryDelay), options.RetryDelay, TimeSpan.FromMilliseconds(1), TimeSpan.FromMinutes(1));
        Span(nameof(options.RetryMaxDelay), options.RetryMaxDelay, options.RetryDelay, TimeSpan.FromMinutes(10));
        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);

        void Range(string option, long value, long low, long high)
        {
            if (value < low || value > high)
                errors.Add($"ResourceCache:{option} is {value}; it must lie between {low} and {high}.");
        }

        void Span(string option, TimeSpan value, TimeSpan low, TimeSpan high)
        {
            if (value < low || value > high)
                errors.Add($"ResourceCache:{option} is {value}; it must lie between {low} and {high}.");
        }
    }
}
