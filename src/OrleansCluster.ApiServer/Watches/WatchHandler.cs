using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Watches (wire contract, section 7). A watch pulls from the cache's bounded history and owns no queue: a client that reads slowly stops
/// its own flush, falls behind, and is told to list again once its place in the history is gone.
/// <code>
/// change log (1) --> cache history (2) --(3) pull a batch--> (4) selectors --> (5) prefix + shared bytes + suffix into the pipe, flushed when no more is at hand
/// </code>
/// </summary>
internal sealed partial class WatchHandler(
    IResourceCaches caches, MetaShapes shapes, TimeProvider time, Func<double> random, ILogger<WatchHandler> logger)
{
    /// <summary>How often a quiet watch says how far it is.</summary>
    public static readonly TimeSpan BookmarkInterval = TimeSpan.FromMinutes(1);

    /// <summary>Shortest life of a watch that sets no time-out itself; up to twice as long, so that clients do not come back all at once.</summary>
    public static readonly TimeSpan MinTimeout = TimeSpan.FromMinutes(30);

    /// <summary>How long one flush may take before the client counts as stalled.</summary>
    public static readonly TimeSpan FlushTimeout = TimeSpan.FromSeconds(30);

    /// <summary>Most bytes put into the pipe before it is flushed although more is at hand.</summary>
    private const int FlushBytes = 64 * 1024;

    /// <summary>Runs one watch to its end.</summary>
    public async ValueTask WatchAsync(ApiRequest request)
    {
        var format = Negotiation.NegotiateResource(request.Http);
        var options = ListOptions.Parse(request.Http, watch: true);
        var definition = request.Definition;
        var filter = ObjectFilter.Parse(definition, request.Info.Namespace, options, request.Info.Name);
        var cache = caches.Get(definition.Resource);
        var lifetime = options.Timeout ?? MinTimeout + (MinTimeout * random());

        // Where to begin. Everything that can be refused is refused before the first byte, with a proper status code.
        var wantsInitial = options.SendInitialEvents ?? options.ResourceVersion is null or 0;
        ICacheSnapshot? initial = null;
        long start;
        if (wantsInitial)
        {
            initial = options.ResourceVersion switch
            {
                null => await cache.GetLatestAsync(request.Aborted),
                0 => await cache.GetSnapshotAsync(request.Aborted),
                { } n => await ReadStates.NotOlderThanAsync(cache, n, request.Aborted),
            };
            start = initial.Revision;
        }
        else if (options.ResourceVersion is { } revision and > 0)
        {
            start = revision;
            await ReadStates.NotOlderThanAsync(cache, revision, request.Aborted);
        }
        else
        {
            start = (await cache.GetLatestAsync(request.Aborted)).Revision;
        }

        var response = request.Response;
        response.StatusCode = 200;
        response.ContentType = MediaTypes.Json;
        request.Context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        var stream = new Stream(request, format, filter, options, shapes);
        ICacheWatcher watcher;
        try
        {
            watcher = cache.Watch(start);
        }
        catch (CompactedException error)
        {
            await WriteExpiredAsync(request.Context, start, error.CompactedRevision, request.Aborted);
            return;
        }
        using (watcher)
            await RunAsync(stream, watcher, initial, lifetime, request.Aborted);
    }

    private async ValueTask RunAsync(Stream stream, ICacheWatcher watcher, ICacheSnapshot? initial, TimeSpan lifetime, CancellationToken aborted)
    {
        var context = stream.Context;
        var endAt = time.GetUtcNow() + lifetime;
        // Clients wait for the headers before they count the watch as established.
        await FlushAsync(context, aborted);
        if (initial is not null)
            await WriteInitialAsync(stream, initial, aborted);

        var start = watcher.Revision;
        var bookmarked = initial?.Revision ?? start;
        using var tick = new Tick(time, aborted);
        tick.Restart(Earlier(BookmarkInterval, endAt - time.GetUtcNow()));
        try
        {
            while (true)
            {
                // Watch event, step 3: whatever is at hand comes at once and is written without a flush in between.
                IReadOnlyList<CacheChange> changes;
                try
                {
                    var read = watcher.ReadAsync(tick.Token);
                    if (!read.IsCompleted && stream.Waiting > 0)
                    {
                        // Step 5: nothing more is at hand, so the client gets what there is.
                        stream.Waiting = 0;
                        await FlushAsync(context, aborted);
                    }
                    changes = await read;
                }
                catch (OperationCanceledException) when (!aborted.IsCancellationRequested)
                {
                    // NOTE: a bookmark carries the watcher's revision, which counts only changes handed out and therefore written above.
                    // The cache's newest revision would be ahead of changes this client has not got.
                    var ending = time.GetUtcNow() >= endAt;
                    if (stream.WantsBookmarks && watcher.Revision > bookmarked)
                    {
                        stream.WriteBookmark(watcher.Revision, initialEventsEnd: false);
                        bookmarked = watcher.Revision;
                        await FlushAsync(context, aborted);
                    }
                    if (ending)
                        return;
                    tick.Restart(Earlier(BookmarkInterval, endAt - time.GetUtcNow()));
                    continue;
                }
                foreach (var change in changes)
                {
                    stream.Write(change);
                    if (stream.Waiting >= FlushBytes)
                    {
                        stream.Waiting = 0;
                        await FlushAsync(context, aborted);
                    }
                }
            }
        }
        catch (CompactedException error)
        {
            Log.FellBehind(logger, stream.Resource, watcher.Revision);
            await WriteExpiredAsync(context, watcher.Revision, error.CompactedRevision, aborted);
        }
    }

    private async ValueTask WriteInitialAsync(Stream stream, ICacheSnapshot initial, CancellationToken aborted)
    {
        foreach (var item in stream.Filter.Select(initial))
        {
            stream.WriteEvent("ADDED"u8, item.Bytes);
            if (stream.Waiting >= FlushBytes)
            {
                stream.Waiting = 0;
                await FlushAsync(stream.Context, aborted);
            }
        }
        if (stream.SendsInitialEventsEnd)
            stream.WriteBookmark(initial.Revision, initialEventsEnd: true);
        if (stream.Waiting > 0)
        {
            stream.Waiting = 0;
            await FlushAsync(stream.Context, aborted);
        }
    }

    private async ValueTask FlushAsync(HttpContext context, CancellationToken aborted)
    {
        var flush = context.Response.BodyWriter.FlushAsync(aborted);
        if (flush.IsCompletedSuccessfully)
        {
            _ = flush.Result;
            return;
        }
        var pending = flush.AsTask();
        try
        {
            await pending.WaitAsync(FlushTimeout, time, aborted);
        }
        catch (TimeoutException)
        {
            // The connection goes first and takes the write with it: a request must not end with a write under way.
            context.Abort();
            Task end = pending.WaitAsync(FlushTimeout, time, CancellationToken.None);
            await end.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw new SlowClientException();
        }
    }

    private async ValueTask WriteExpiredAsync(HttpContext context, long revision, long compacted, CancellationToken aborted)
    {
        var output = context.Response.BodyWriter;
        output.Write("{\"type\":\"ERROR\",\"object\":"u8);
        output.Write(CanonicalJson.SerializeNode(StatusError.Expired($"too old resource version: {revision} ({compacted})").ToJson()));
        output.Write("}\n"u8);
        await FlushAsync(context, aborted);
    }

    private static TimeSpan Earlier(TimeSpan a, TimeSpan b)
    {
        var earlier = a < b ? a : b;
        return earlier > TimeSpan.FromMilliseconds(1) ? earlier : TimeSpan.FromMilliseconds(1);
    }

    /// <summary>
    /// Cancels the pending read when it is time for a bookmark or for the end. One source serves until its time comes: no timer per event.
    /// </summary>
    private sealed class Tick(TimeProvider time, CancellationToken aborted) : IDisposable
    {
        private CancellationTokenSource? _source;
        private CancellationTokenRegistration _registration;

        public CancellationToken Token => _source?.Token ?? aborted;

        public void Restart(TimeSpan delay)
        {
            Dispose();
            var source = new CancellationTokenSource(delay, time);
            _source = source;
            _registration = aborted.UnsafeRegister(static state => ((CancellationTokenSource)state!).Cancel(), source);
        }

        public void Dispose()
        {
            _registration.Dispose();
            _source?.Dispose();
            _source = null;
        }
    }

    /// <summary>The events of one watch on their way into the response pipe.</summary>
    private sealed class Stream(ApiRequest request, ResponseFormat format, ObjectFilter filter, ListOptions options, MetaShapes shapes)
    {
        private readonly ITableSource _table = ReadHandler.TableOf(request);
        private bool _columnsSent;

        public HttpContext Context => request.Context;

        public PipeWriter Output { get; } = request.Response.BodyWriter;

        public ObjectFilter Filter => filter;

        public string Resource => request.Definition.Resource;

        public bool WantsBookmarks => options.AllowWatchBookmarks;

        public bool SendsInitialEventsEnd => options.SendInitialEvents == true;

        /// <summary>Bytes written since the last flush.</summary>
        public int Waiting { get; set; }

        /// <summary>Step 4: translates a change by the selectors: entering is ADDED, leaving DELETED, outside is nothing.</summary>
        public void Write(CacheChange change)
        {
            if (filter.IsEmpty)
            {
                var type = change.Type switch
                {
                    ChangeType.Added => "ADDED"u8,
                    ChangeType.Modified => "MODIFIED"u8,
                    _ => "DELETED"u8,
                };
                WriteEvent(type, change.Object.Bytes);
                return;
            }
            var matched = change.Previous is not null && filter.Matches(change.Previous);
            var matches = change.Type != ChangeType.Deleted && filter.Matches(change.Object);
            if (change.Type == ChangeType.Deleted)
            {
                // A removal carries the object's last state; without a previous one that state decides.
                if (change.Previous is null ? filter.Matches(change.Object) : matched)
                    WriteEvent("DELETED"u8, change.Object.Bytes);
            }
            else if (matches)
            {
                WriteEvent(matched ? "MODIFIED"u8 : "ADDED"u8, change.Object.Bytes);
            }
            else if (matched)
            {
                WriteEvent("DELETED"u8, RevisionSplice.Replace(change.Previous!.Bytes.Span, change.Revision));
            }
        }

        /// <summary>Step 5, one event: the object's bytes are those every reader shares.</summary>
        public void WriteEvent(ReadOnlySpan<byte> type, ReadOnlyMemory<byte> obj)
        {
            Output.Write("{\"type\":\""u8);
            Output.Write(type);
            Output.Write("\",\"object\":"u8);
            if (format.Shape == BodyShape.Object)
            {
                Output.Write(obj.Span);
            }
            else
            {
                shapes.WriteOne(Output, format, request.Definition, _table, obj, options.IncludeObject, withColumns: !_columnsSent);
                _columnsSent = true;
            }
            Output.Write("}\n"u8);
            Waiting += obj.Length + 32;
        }

        public void WriteBookmark(long revision, bool initialEventsEnd)
        {
            Span<byte> digits = stackalloc byte[20];
            Utf8Formatter.TryFormat(revision, digits, out var length);
            digits = digits[..length];
            var definition = request.Definition;
            Output.Write("{\"type\":\"BOOKMARK\",\"object\":"u8);
            if (format.Shape == BodyShape.Table)
            {
                MetaShapes.WriteTableHead(Output, format, _table, revision.ToString(CultureInfo.InvariantCulture), "", null, withColumns: !_columnsSent);
                Output.Write("]}"u8);
            }
            else
            {
                var kind = format.Shape == BodyShape.Metadata ? "PartialObjectMetadata" : definition.Kind;
                var version = format.Shape == BodyShape.Metadata ? format.MetaApiVersion : definition.ApiVersion;
                Output.Write(System.Text.Encoding.UTF8.GetBytes($"{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{{\"resourceVersion\":\""));
                Output.Write(digits);
                Output.Write("\",\"creationTimestamp\":null"u8);
                if (initialEventsEnd)
                    Output.Write(",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}"u8);
                Output.Write("}}"u8);
            }
            Output.Write("}\n"u8);
            Waiting += 128;
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Debug, "A watch of {Resource} fell behind the history at revision {Revision} and was told to list again")]
        public static partial void FellBehind(ILogger logger, string resource, long revision);
    }
}

/// <summary>The client takes no more bytes; its connection is aborted, so that a cut answer cannot look whole.</summary>
internal sealed class SlowClientException() : Exception("The client did not read in time.");

/// <summary>Exchanges the resourceVersion of served bytes.</summary>
internal static class RevisionSplice
{
    /// <summary>The same object with another resourceVersion.</summary>
    public static byte[] Replace(ReadOnlySpan<byte> served, long revision)
    {
        var head = "\"metadata\":{\"resourceVersion\":\""u8;
        var at = CanonicalJson.ItemStart(served) + head.Length;
        var end = at + served[at..].IndexOf((byte)'"');
        Span<byte> digits = stackalloc byte[20];
        Utf8Formatter.TryFormat(revision, digits, out var length);
        var result = new byte[at + length + served.Length - end];
        served[..at].CopyTo(result);
        digits[..length].CopyTo(result.AsSpan(at));
        served[end..].CopyTo(result.AsSpan(at + length));
        return result;
    }
}
