using System.Text.Json;
using OrleansCluster.Api;

namespace OrleansCluster.Storage;

/// <summary>What one resource of a checked store holds.</summary>
/// <param name="Resource">The resource.</param>
/// <param name="Revision">Its newest revision.</param>
/// <param name="Compacted">The revision up to which its log has been compacted.</param>
/// <param name="LogEntries">Changes in its log.</param>
/// <param name="Objects">Current objects.</param>
/// <param name="ValueBytes">Bytes of their values.</param>
/// <param name="LargestValue">Bytes of the largest.</param>
/// <param name="StoredBytes">What the resource takes in the store, its log included.</param>
/// <param name="Claims">Claims held.</param>
/// <param name="Fences">Fences.</param>
/// <param name="QueueItems">Items of its work queues.</param>
public sealed record ResourceCheck(
    string Resource, long Revision, long Compacted, long LogEntries, long Objects, long ValueBytes, long LargestValue, long StoredBytes, long Claims, long Fences,
    long QueueItems);

/// <summary>Outcome of a check.</summary>
/// <param name="Resources">What there is, by name.</param>
/// <param name="Problems">What is wrong, in words; empty if nothing is.</param>
public sealed record StoreCheckReport(IReadOnlyList<ResourceCheck> Resources, IReadOnlyList<string> Problems);

/// <summary>
/// Reads a store from end to end and tells what contradicts itself: unreadable objects, values that are no API object or name another key, claims
/// held twice, queue items without their object, gaps in a log. Writes nothing, and may run while the store serves.
/// </summary>
public static class StoreCheck
{
    /// <summary>Problems listed one by one; what goes beyond is counted.</summary>
    private const int MostProblems = 1000;

    /// <summary>Checks a store.</summary>
    /// <exception cref="StoreUnavailableException">It does not answer or is none.</exception>
    public static async Task<StoreCheckReport> RunAsync(IStoreTransfer store, CancellationToken cancellationToken)
    {
        List<ResourceCheck> resources = [];
        List<string> problems = [];
        long unlisted = 0;
        var keys = new HashSet<string>(StringComparer.Ordinal);
        var claims = new Dictionary<string, string>(StringComparer.Ordinal);
        if (await store.GetConditionAsync(cancellationToken) == StoreCondition.HalfImported)
            Add("An import into this store did not end. Import again with --replace.");
        ResourceCheck? current = null;
        await foreach (var record in store.ReadAllAsync(Add, cancellationToken))
        {
            switch (record)
            {
                case ResourceRecord resource:
                    await CompleteAsync();
                    current = new ResourceCheck(resource.Resource, resource.Revision, 0, 0, 0, 0, 0, 0, 0, 0, 0);
                    break;
                case ObjectRecord item:
                    keys.Add(item.Key);
                    current = current! with
                    {
                        Objects = current.Objects + 1,
                        ValueBytes = current.ValueBytes + item.Value.Length,
                        LargestValue = Math.Max(current.LargestValue, item.Value.Length),
                        Claims = current.Claims + item.Claims.Count,
                    };
                    if (Mismatch(item) is { } mismatch)
                        Add($"{current.Resource} '{item.Key}': {mismatch}");
                    foreach (var claim in item.Claims)
                    {
                        if (!claims.TryAdd(claim, item.Key))
                            Add($"{current.Resource} '{item.Key}': its claim '{claim}' is also held by '{claims[claim]}'.");
                    }
                    break;
                case FenceRecord:
                    current = current! with { Fences = current.Fences + 1 };
                    break;
                case QueueRecord item:
                    current = current! with { QueueItems = current.QueueItems + 1 };
                    if (!keys.Contains(item.Key))
                        Add($"{current.Resource} '{item.Key}': it is in the queue '{item.Queue}' but does not exist.");
                    break;
            }
        }
        await CompleteAsync();
        if (unlisted > 0)
            problems.Add($"... and {unlisted} more.");
        return new StoreCheckReport(resources, problems);

        void Add(string problem)
        {
            if (problems.Count < MostProblems)
                problems.Add(problem);
            else
                unlisted++;
        }

        async ValueTask CompleteAsync()
        {
            if (current is null)
                return;
            var log = await store.InspectLogAsync(current.Resource, cancellationToken);
            foreach (var problem in log.Problems)
                Add($"{current.Resource}: {problem}");
            resources.Add(current with { Compacted = log.Compacted, LogEntries = log.Entries, StoredBytes = log.Bytes });
            keys.Clear();
            claims.Clear();
        }
    }

    // What is wrong with an object in itself, or null.
    private static string? Mismatch(ObjectRecord item)
    {
        string? name = null, ns = null, kind = null;
        try
        {
            var reader = new Utf8JsonReader(item.Value, new JsonReaderOptions { MaxDepth = StoreFile.MaxDepth });
            var isIn = false;
            while (reader.Read())
            {
                if (reader.TokenType != JsonTokenType.PropertyName)
                    continue;
                if (reader.CurrentDepth == 1)
                    isIn = reader.ValueTextEquals("metadata"u8);
                if (reader.CurrentDepth == 1 && reader.ValueTextEquals("kind"u8))
                    kind = Text(ref reader) ?? kind;
                else if (reader.CurrentDepth == 2 && isIn && reader.ValueTextEquals("name"u8))
                    name = Text(ref reader) ?? name;
                else if (reader.CurrentDepth == 2 && isIn && reader.ValueTextEquals("namespace"u8))
                    ns = Text(ref reader) ?? ns;
            }
        }
        catch (JsonException e)
        {
            return $"its value is no JSON object ({e.Message.Split('.')[0]}).";
        }
        if (string.IsNullOrEmpty(kind) || string.IsNullOrEmpty(name))
            return "its value is no API object: kind or metadata.name is missing.";
        var key = new ObjectKey("", ns ?? "", name).StorageKey;
        return string.Equals(key, item.Key, StringComparison.Ordinal) ? null : $"its value says that it is '{key}'.";
    }

    private static string? Text(ref Utf8JsonReader reader)
    {
        reader.Read();
        if (reader.TokenType == JsonTokenType.String)
            return reader.GetString();
        return null;
    }
}
