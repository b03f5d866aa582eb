namespace OrleansCluster.Storage;

/// <summary>
/// The form of an export: lines of JSON, each ended by one line feed, so that it can be read, cut and searched with ordinary tools. The first
/// member of a line says what it is.
/// <code>
/// {"format":"orleanscluster-store","version":1,"time":"2026-01-02T03:04:05.6789Z","source":"sqlite","resources":["nodes","pods"]}
/// {"resource":"pods","revision":812}
/// {"key":"default/web","revision":790,"claims":["ip/10.0.0.7"],"value":{"kind":"Pod",...}}    claims only if it holds any
/// {"key":"odd","revision":791,"base64":"AAEC"}                                                a value that is no JSON object on one line
/// {"fence":"node/n1","value":3}
/// {"queue":"pending-pods","key":"default/web","priority":0,"enqueuedAt":"2026-01-02T03:04:00Z"}    oldest first
/// {"end":true,"resources":2,"objects":2,"fences":1,"queueItems":1,"sha256":"..."}             of every byte before this line
/// </code>
/// A value stands in its line byte for byte. Members that a reader does not know are passed over, lines are not: a new kind of line is a new version.
/// </summary>
internal static class StoreFile
{
    public const string Format = "orleanscluster-store";
    public const int Version = 1;

    /// <summary>
    /// Nesting of a value that still stands in its line as JSON. Far above what any object has; a deeper one is written as base64, since readers of
    /// JSON have limits, too.
    /// </summary>
    public const int MaxDepth = 512;

    /// <summary>Longest line: a value of the greatest length in base64, and its key.</summary>
    public const int MaxLine = ValueCodec.MaxValueBytes / 3 * 4 + (1 << 20);
}

/// <summary>What an export holds.</summary>
/// <param name="Header">Its header.</param>
/// <param name="Resources">Resources.</param>
/// <param name="Objects">Objects.</param>
/// <param name="Fences">Fences.</param>
/// <param name="QueueItems">Items of work queues.</param>
/// <param name="Bytes">Length, before any compression of the file.</param>
public sealed record StoreFileSummary(HeaderRecord Header, int Resources, long Objects, long Fences, long QueueItems, long Bytes);
