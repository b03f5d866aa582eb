using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer;

/// <summary>
/// GET of an object and LIST of a collection, answered from this process's cache. The data path of a plain list, whose bytes are copied and
/// never parsed:
/// <code>
/// cache snapshot --(1) filter--> page of cached objects --(2) lengths--> head + Content-Length --(3) copy--> response pipe --(4) flush by 64 KiB
/// </code>
/// </summary>
internal sealed class ReadHandler(IResourceCaches caches, ReadStates states, ListSnapshots snapshots, MetaShapes shapes)
{
    /// <summary>The pipe is flushed each time this much waits in it: large enough to make system calls cheap, small enough to stay in cache.</summary>
    private const int FlushBytes = 64 * 1024;

    /// <summary>Bytes of a Table row with metadata, for the decision to compress before the first one is made.</summary>
    private const int EstimatedRowBytes = 700;

    /// <summary>Answers a GET of one object or of a readable subresource.</summary>
    public async ValueTask GetAsync(ApiRequest request)
    {
        var format = Negotiation.NegotiateResource(request.Http);
        var revision = request.Http.QueryString.HasValue
            ? ListOptions.ParseRevision(QueryValues.Text(request.Http.Query, "resourceVersion"))
            : null;
        var definition = request.Definition;
        var state = await ReadStates.ForGetAsync(caches.Get(definition.Resource), revision, request.Aborted);
        var info = request.Info;
        var found = state.Find(definition.Namespaced ? info.Namespace : "", info.Name)
            ?? throw new StatusException(StatusError.NotFound(definition.Plural, definition.Group, info.Name));
        if (info.Subresource.Length == 0 || info.Subresource == "status")
        {
            await WriteObjectAsync(request, 200, found.Bytes, format);
        }
        else
        {
            var view = definition.Strategy.View(CanonicalJson.Parse(found.Bytes.Span), info.Subresource);
            await WriteObjectAsync(request, 200, CanonicalJson.SerializeNode(view), format);
        }
    }

    /// <summary>Answers with one object in the negotiated form.</summary>
    public async ValueTask WriteObjectAsync(ApiRequest request, int code, ReadOnlyMemory<byte> obj, ResponseFormat format)
    {
        if (format.Shape == BodyShape.Object)
        {
            await Replies.WriteAsync(request.Context, code, obj, format.Pretty);
            return;
        }
        using var buffer = new PooledWriter();
        var include = request.Http.QueryString.HasValue ? QueryValues.Text(request.Http.Query, "includeObject") : "";
        shapes.WriteOne(buffer, format, request.Definition, TableOf(request), obj, include);
        await Replies.WriteAsync(request.Context, code, buffer.Written, format.Pretty);
    }

    /// <summary>Columns for the resource or subresource of a request.</summary>
    public static ITableSource TableOf(ApiRequest request) =>
        request.Info.Subresource == "scale" ? ScaleTable.Instance : new ResourceTable(request.Definition);

    /// <summary>Answers a LIST.</summary>
    public async ValueTask ListAsync(ApiRequest request)
    {
        var format = Negotiation.NegotiateResource(request.Http);
        var options = ListOptions.Parse(request.Http, watch: false);
        var definition = request.Definition;
        var filter = ObjectFilter.Parse(definition, request.Info.Namespace, options);
        var token = options.Continue.Length > 0 ? ContinueToken.Decode(options.Continue) : (ContinueToken?)null;
        var state = await states.ForListAsync(caches.Get(definition.Resource), options, token, request.Aborted);

        // (1) One pass finds the page, and one object more to know whether another page follows.
        var page = TakePage(state, filter, options.Limit, token?.After, out var more);
        var next = "";
        long? remaining = null;
        if (more)
        {
            // An inconsistent continuation becomes consistent again with the snapshot its page was read from.
            next = new ContinueToken(state.Revision, page[^1].Key.StorageKey).Encode();
            snapshots.Keep(definition.Resource, state);
            if (filter.IsNamespaceOnly)
                remaining = Remaining(state, filter, page[^1]);
        }
        var revision = state.Revision.ToString(CultureInfo.InvariantCulture);
        if (format.Shape == BodyShape.Object && !format.Pretty)
            await WritePlainAsync(request.Context, definition, page, revision, next, remaining, request.Aborted);
        else
            await WriteShapedAsync(request, format, options, page, revision, next, remaining);
    }

    private static List<ICachedObject> TakePage(ICacheSnapshot state, ObjectFilter filter, long limit, string? after, out bool more)
    {
        more = false;
        var page = new List<ICachedObject>(limit > 0 ? (int)Math.Min(limit, state.Count) : filter.IsEmpty ? state.Count : 16);
        if (filter.Name is { } name && filter.Namespace is not null)
        {
            // A list by metadata.name (kubectl wait, delete, rollout status) is a point read.
            var found = state.Find(filter.Namespace, name);
            if (found is not null && filter.Matches(found) && (after is null || string.CompareOrdinal(found.Key.StorageKey, after) > 0))
                page.Add(found);
            return page;
        }
        foreach (var item in state.Enumerate(filter.NamespaceOrAll, after))
        {
            if (!filter.Matches(item))
                continue;
            if (limit > 0 && page.Count == limit)
            {
                more = true;
                break;
            }
            page.Add(item);
        }
        return page;
    }

    private static long Remaining(ICacheSnapshot state, ObjectFilter filter, ICachedObject last)
    {
        var count = 0L;
        foreach (var _ in state.Enumerate(filter.NamespaceOrAll, last.Key.StorageKey))
            count++;
        return count;
    }

    private static async ValueTask WritePlainAsync(
        HttpContext context, ResourceDefinition definition, List<ICachedObject> page, string revision, string next, long? remaining,
        CancellationToken cancellationToken)
    {
        using var head = new PooledWriter(512);
        MetaShapes.WriteListHead(head, definition.Kind + "List", definition.ApiVersion, revision, next, remaining);

        // (2) Every length is known: each item is `{`, its bytes, and a comma between items; `]}` and a line feed end the list.
        var length = (long)head.Written.Length + 3;
        foreach (var item in page)
            length += item.ItemBytes.Length + 2;
        length -= page.Count > 0 ? 1 : 0;

        var response = context.Response;
        response.StatusCode = 200;
        response.ContentType = MediaTypes.Json;
        if (HttpMethods.IsHead(context.Request.Method))
        {
            response.ContentLength = length;
            return;
        }
        if (length > Replies.CompressAbove && Replies.AcceptsGzip(context.Request))
        {
            await using var gzip = Replies.StartGzip(response);
            var pipe = PipeWriter.Create(gzip, new StreamPipeWriterOptions(minimumBufferSize: FlushBytes, leaveOpen: true));
            await CopyAsync(pipe, head, page, cancellationToken);
            await pipe.CompleteAsync();
            return;
        }
        response.ContentLength = length;
        await CopyAsync(response.BodyWriter, head, page, cancellationToken);
    }

    private static async ValueTask CopyAsync(PipeWriter output, PooledWriter head, List<ICachedObject> page, CancellationToken cancellationToken)
    {
        output.Write(head.Written.Span);
        var waiting = head.Written.Length;
        for (var i = 0; i < page.Count; i++)
        {
            // (3) NOTE: the items are copied from buffers that every reader shares; nothing here may keep or change them.
            var item = page[i].ItemBytes.Span;
            output.Write(i == 0 ? "{"u8 : ",{"u8);
            output.Write(item);
            waiting += item.Length + 2;
            if (waiting < FlushBytes)
                continue;
            // (4) A slow client stops us here and holds no more than this one snapshot.
            await output.FlushAsync(cancellationToken);
            waiting = 0;
        }
        output.Write("]}\n"u8);
        await output.FlushAsync(cancellationToken);
    }

    private async ValueTask WriteShapedAsync(
        ApiRequest request, ResponseFormat format, ListOptions options, List<ICachedObject> page, string revision, string next, long? remaining)
    {
        if (format.Pretty || page.Count * EstimatedRowBytes <= Replies.CompressAbove)
        {
            using var whole = new PooledWriter(page.Count * EstimatedRowBytes + 1024);
            WriteShaped(whole, request, format, options, page, revision, next, remaining);
            await Replies.WriteAsync(request.Context, 200, whole.Written, format.Pretty);
            return;
        }
        var response = request.Response;
        response.ContentType = MediaTypes.Json;
        if (Replies.AcceptsGzip(request.Http))
        {
            await using var gzip = Replies.StartGzip(response);
            var pipe = PipeWriter.Create(gzip, new StreamPipeWriterOptions(minimumBufferSize: FlushBytes, leaveOpen: true));
            await StreamShapedAsync(pipe, request, format, options, page, revision, next, remaining);
            await pipe.CompleteAsync();
            return;
        }
        await StreamShapedAsync(response.BodyWriter, request, format, options, page, revision, next, remaining);
    }

    private async ValueTask StreamShapedAsync(
        PipeWriter output, ApiRequest request, ResponseFormat format, ListOptions options, List<ICachedObject> page, string revision, string next,
        long? remaining)
    {
        using var chunk = new PooledWriter(FlushBytes * 2);
        WriteShapedHead(chunk, request, format, revision, next, remaining);
        var table = TableOf(request);
        for (var i = 0; i < page.Count; i++)
        {
            WriteShapedItem(chunk, request, format, options, table, page[i], first: i == 0);
            if (chunk.Written.Length < FlushBytes)
                continue;
            await output.WriteAsync(chunk.Written, request.Aborted);
            chunk.Clear();
        }
        chunk.Write("]}\n"u8);
        await output.WriteAsync(chunk.Written, request.Aborted);
    }

    private void WriteShaped(
        IBufferWriter<byte> output, ApiRequest request, ResponseFormat format, ListOptions options, List<ICachedObject> page, string revision,
        string next, long? remaining)
    {
        WriteShapedHead(output, request, format, revision, next, remaining);
        var table = TableOf(request);
        for (var i = 0; i < page.Count; i++)
            WriteShapedItem(output, request, format, options, table, page[i], first: i == 0);
        output.Write("]}\n"u8);
    }

    private static void WriteShapedHead(
        IBufferWriter<byte> output, ApiRequest request, ResponseFormat format, string revision, string next, long? remaining)
    {
        var definition = request.Definition;
        switch (format.Shape)
        {
            case BodyShape.Table:
                MetaShapes.WriteTableHead(output, format, TableOf(request), revision, next, remaining, withColumns: true);
                break;
            case BodyShape.Metadata:
                MetaShapes.WriteListHead(output, "PartialObjectMetadataList", format.MetaApiVersion, revision, next, remaining);
                break;
            default:
                MetaShapes.WriteListHead(output, definition.Kind + "List", definition.ApiVersion, revision, next, remaining);
                break;
        }
    }

    private void WriteShapedItem(
        IBufferWriter<byte> output, ApiRequest request, ResponseFormat format, ListOptions options, ITableSource table, ICachedObject item, bool first)
    {
        if (!first)
            output.Write(","u8);
        if (format.Shape == BodyShape.Object)
        {
            output.Write("{"u8);
            output.Write(item.ItemBytes.Span);
            return;
        }
        using var document = JsonDocument.Parse(item.Bytes);
        if (format.Shape == BodyShape.Table)
            shapes.WriteRow(output, format, request.Definition, table, document.RootElement, item.Bytes, options.IncludeObject);
        else
            MetaShapes.WritePartialMetadata(output, format.MetaApiVersion, document.RootElement);
    }
}
