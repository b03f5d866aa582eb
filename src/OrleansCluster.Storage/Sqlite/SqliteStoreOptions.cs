using Microsoft.Extensions.Options;

namespace OrleansCluster.Storage;

/// <summary>What an acknowledged commit survives.</summary>
public enum StoreDurability
{
    /// <summary>Loss of power: the log is flushed to the disk before a commit is acknowledged (one flush per group of commits).</summary>
    PowerLoss,

    /// <summary>Death of the process, not of the machine: no flush per group. The file stays consistent; after a power loss the last commits may be gone.</summary>
    ProcessLoss,

    /// <summary>Nothing is promised after a power loss, not even a readable file. For tests.</summary>
    None,
}

/// <summary>Settings of the embedded store.</summary>
public sealed class SqliteStoreOptions
{
    /// <summary>
    /// Database file; its directory is made if need be. Empty (default): a private file in the temporary directory that is deleted when the store is
    /// disposed, for tests and throw-away clusters.
    /// </summary>
    public string Path { get; set; } = "";

    /// <summary>
    /// What an acknowledged commit survives. Default <see cref="StoreDurability.PowerLoss"/>; a private file always uses
    /// <see cref="StoreDurability.None"/>. Less durability saves one disk flush per group of commits (0.1 to 10 ms, by disk).
    /// </summary>
    public StoreDurability Durability { get; set; } = StoreDurability.PowerLoss;

    /// <summary>
    /// Most commits in one transaction. Default 256, range 1 to 4,096. More saves flushes under load and makes the first of a group wait longer.
    /// </summary>
    public int MaxGroup { get; set; } = 256;

    /// <summary>
    /// Most write calls waiting for the writer; later ones wait before they enter (back-pressure). Default 8,192, range 1 to 1,000,000.
    /// Each waiting call holds its commits in memory.
    /// </summary>
    public int MaxWaitingWrites { get; set; } = 8192;

    /// <summary>Connections for reads that memory cannot answer. Default 4, range 1 to 64. Each costs about 2 MB of page cache once used.</summary>
    public int ReadConnections { get; set; } = 4;

    /// <summary>
    /// Most recent changes per resource that tails read from memory. Default 4,096, range 0 to 1,000,000. Tails that are further behind read the file.
    /// </summary>
    public int WindowCount { get; set; } = 4096;

    /// <summary>Most bytes of recent changes per resource in memory. Default 8 MiB, range 0 to 1 GiB.</summary>
    public long WindowBytes { get; set; } = 8 << 20;

    /// <summary>
    /// Size of the write-ahead file, in 4 KiB pages, at which it is copied into the database. Default 4,096 (16 MiB), range 100 to 1,000,000.
    /// More means fewer, longer pauses of the writer and a longer recovery after a crash.
    /// </summary>
    public int CheckpointPages { get; set; } = 4096;

    /// <summary>What the background compaction keeps.</summary>
    public CompactionOptions Compaction { get; set; } = new();
}

/// <summary>Checks <see cref="SqliteStoreOptions"/> as a whole when the host starts.</summary>
public sealed class SqliteStoreOptionsValidator : IValidateOptions<SqliteStoreOptions>
{
    /// <inheritdoc/>
    public ValidateOptionsResult Validate(string? name, SqliteStoreOptions options)
    {
        List<string> errors = [];
        Range(nameof(options.MaxGroup), options.MaxGroup, 1, 4096);
        Range(nameof(options.MaxWaitingWrites), options.MaxWaitingWrites, 1, 1_000_000);
        Range(nameof(options.ReadConnections), options.ReadConnections, 1, 64);
        Range(nameof(options.WindowCount), options.WindowCount, 0, 1_000_000);
        Range(nameof(options.WindowBytes), options.WindowBytes, 0, 1L << 30);
        Range(nameof(options.CheckpointPages), options.CheckpointPages, 100, 1_000_000);
        if (!Enum.IsDefined(options.Durability))
            errors.Add($"SqliteStore:Durability is {options.Durability}; use PowerLoss, ProcessLoss or None.");

        options.Compaction.Validate("SqliteStore", errors);
        return errors.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(errors);

        void Range(string option, long value, long low, long high)
        {
            if (value < low || value > high)
                errors.Add($"SqliteStore:{option} is {value}; it must lie between {low} and {high}.");
        }
    }
}
