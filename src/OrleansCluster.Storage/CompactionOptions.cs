namespace OrleansCluster.Storage;

/// <summary>
/// How much of each change log is kept. A change is dropped when it is older than <see cref="KeepFor"/> and not among the newest
/// <see cref="KeepAtLeast"/>, or when one of the upper bounds is passed. Who falls behind gets <see cref="CompactedException"/> and starts
/// from a snapshot; current objects are never touched.
/// </summary>
public sealed class CompactionOptions
{
    /// <summary>How often the background loop looks. Default 10 s, range 0.1 s to 1 h. It is also the grain of the age and byte rules.</summary>
    public TimeSpan Interval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Age up to which changes are kept. Default 5 minutes, range 0 to 7 days. Counted anew after a restart.</summary>
    public TimeSpan KeepFor { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>Changes per resource kept whatever their age. Default 10,000, range 0 to <see cref="KeepAtMost"/>.</summary>
    public long KeepAtLeast { get; set; } = 10_000;

    /// <summary>Most changes kept per resource. Default 200,000, range 1 to 100 million. Bounds the file at high write rates.</summary>
    public long KeepAtMost { get; set; } = 200_000;

    /// <summary>Most bytes of changes kept per resource. Default 256 MiB, range 1 MiB to 1 TiB; may be passed by what is written in one interval.</summary>
    public long KeepAtMostBytes { get; set; } = 256L << 20;

    internal void Validate(string section, List<string> errors)
    {
        Range("Interval (ms)", (long)Interval.TotalMilliseconds, 100, 3_600_000);
        Range("KeepFor (s)", (long)KeepFor.TotalSeconds, 0, 7 * 24 * 3600);
        Range("KeepAtMost", KeepAtMost, 1, 100_000_000);
        Range("KeepAtMostBytes", KeepAtMostBytes, 1 << 20, 1L << 40);
        if (KeepAtLeast < 0 || KeepAtLeast > KeepAtMost)
            errors.Add($"{section}:Compaction:KeepAtLeast is {KeepAtLeast}; it must lie between 0 and KeepAtMost ({KeepAtMost}).");

        void Range(string option, long value, long low, long high)
        {
            if (value < low || value > high)
                errors.Add($"{section}:Compaction:{option} is {value}; it must lie between {low} and {high}.");
        }
    }
}
