namespace OrleansCluster.Storage;

/// <summary>
/// Reads a store out and writes one anew: what `orleanscluster store export|import|check` works on. Both stores implement it, so that each can be
/// filled from the other; <c>StoreTransferBattery</c> in the tests holds for every pair.
/// </summary>
public interface IStoreTransfer : IAsyncDisposable
{
    /// <summary>Kind of store, e.g. `sqlite`: written into the header of an export.</summary>
    string Source { get; }

    /// <summary>The store in the words of a message, e.g. `the database '/data/store/objects.db'`.</summary>
    string Description { get; }

    /// <summary>What is there now.</summary>
    ValueTask<StoreCondition> GetConditionAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Everything worth keeping, while others write: a header, then per resource the resource, its objects, its fences and its queue items (oldest
    /// first). What belongs to one resource is of one revision.
    /// </summary>
    /// <param name="onProblem">Told of what cannot be read or contradicts itself, which is then left out. Null: the first problem ends the reading.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="InvalidDataException">Something contradicts itself and <paramref name="onProblem"/> is null.</exception>
    /// <exception cref="StoreUnavailableException">The store does not answer or is none.</exception>
    IAsyncEnumerable<StoreRecord> ReadAllAsync(Action<string>? onProblem, CancellationToken cancellationToken);

    /// <summary>
    /// Makes records, in the order of <see cref="ReadAllAsync"/>, the store's whole content. Every resource begins a new epoch
    /// (<see cref="StoreEpoch"/>) and acknowledgements of consumer groups are gone. If it throws, the store is either as it was or says
    /// <see cref="StoreCondition.HalfImported"/> and refuses to serve.
    /// </summary>
    /// <param name="records">The records.</param>
    /// <param name="replace">True to drop what is there.</param>
    /// <param name="cancellationToken">Ends the writing.</param>
    /// <exception cref="StoreImportException">The store is not empty, or in use.</exception>
    Task WriteAllAsync(IAsyncEnumerable<StoreRecord> records, bool replace, CancellationToken cancellationToken);

    /// <summary>Reads the change log of a resource from end to end.</summary>
    ValueTask<LogInspection> InspectLogAsync(string resource, CancellationToken cancellationToken);
}

/// <summary>What an import finds.</summary>
public enum StoreCondition
{
    /// <summary>Nothing was ever committed.</summary>
    Empty,

    /// <summary>A store in use or to be used.</summary>
    Filled,

    /// <summary>An import began and did not end. Only another import (with `replace`) helps.</summary>
    HalfImported,
}

/// <summary>A part of a store's content.</summary>
public abstract record StoreRecord;

/// <summary>The first record.</summary>
/// <param name="Time">When the reading began.</param>
/// <param name="Source">Kind of store it was read from.</param>
/// <param name="Resources">The resources that follow, in their order.</param>
public sealed record HeaderRecord(DateTimeOffset Time, string Source, IReadOnlyList<string> Resources) : StoreRecord;

/// <summary>Begins a resource; what follows up to the next one belongs to it.</summary>
/// <param name="Resource">Resource, e.g. `pods`.</param>
/// <param name="Revision">Revision at which it was read; no object's is higher.</param>
public sealed record ResourceRecord(string Resource, long Revision) : StoreRecord;

/// <summary>A current object.</summary>
/// <param name="Key">Key inside the resource.</param>
/// <param name="Revision">Revision of the commit that wrote it.</param>
/// <param name="Value">Its bytes.</param>
/// <param name="Claims">The names it holds exclusively.</param>
public sealed record ObjectRecord(string Key, long Revision, byte[] Value, IReadOnlyList<string> Claims) : StoreRecord;

/// <summary>A fence.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Value">Its value.</param>
public sealed record FenceRecord(string Name, long Value) : StoreRecord;

/// <summary>An item of a work queue. Leases, attempts and back-off are not kept: it is due at once.</summary>
/// <param name="Queue">The queue.</param>
/// <param name="Key">The object's key.</param>
/// <param name="Priority">Its priority.</param>
/// <param name="EnqueuedAt">When it entered the queue.</param>
public sealed record QueueRecord(string Queue, string Key, long Priority, DateTimeOffset EnqueuedAt) : StoreRecord;

/// <summary>The log of one resource, read from end to end.</summary>
/// <param name="Revision">The newest revision.</param>
/// <param name="Compacted">The revision up to which it has been compacted.</param>
/// <param name="Entries">Changes it holds.</param>
/// <param name="Bytes">What the resource takes in the store, in bytes: rows of a file or memory of a server.</param>
/// <param name="Problems">Gaps and contradictions, in words.</param>
public sealed record LogInspection(long Revision, long Compacted, long Entries, long Bytes, IReadOnlyList<string> Problems);

/// <summary>An import that was refused or has failed; the message says what to do.</summary>
/// <param name="message">What was found, and what to do.</param>
public sealed class StoreImportException(string message) : Exception(message);

/// <summary>Where a resource goes on after its history was replaced.</summary>
public static class StoreEpoch
{
    /// <summary>
    /// The first revision of an epoch: above the last one known and above all that may have been given out and lost, because no resource ever counts
    /// 2^21 commits a second. It stays below 2^53 until the year 2106, so a number of JSON or of Lua can hold it.
    /// </summary>
    public static long First(long lastKnown, DateTimeOffset now) => Math.Max(lastKnown + 1, now.ToUnixTimeSeconds() << 21);
}
