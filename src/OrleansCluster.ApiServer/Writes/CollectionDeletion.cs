using System.Buffers;
using System.Globalization;
using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer;

/// <summary>DELETE of a collection: every matching object of the newest state, each through its own grain, few at a time.</summary>
internal sealed class CollectionDeletion(IResourceCaches caches, WriteHandler writes)
{
    /// <summary>Deletions under way at once: enough to fill the store's group commits, too few to push everybody else aside.</summary>
    public const int Parallelism = 16;

    /// <summary>Answers a DELETE of a collection.</summary>
    public async ValueTask HandleAsync(ApiRequest request)
    {
        Negotiation.RequireJson(request.Http);
        var definition = request.Definition;
        var listOptions = ListOptions.Parse(request.Http, watch: false);
        var filter = ObjectFilter.Parse(definition, request.Info.Namespace, listOptions);
        var (options, dryRun) = await writes.ReadDeleteOptionsAsync(request);
        var state = await caches.Get(definition.Resource).GetLatestAsync(request.Aborted);
        var selected = filter.Select(state).ToArray();
        var replies = new ObjectReply?[selected.Length];
        await Parallel.ForEachAsync(
            Enumerable.Range(0, selected.Length),
            new ParallelOptions { MaxDegreeOfParallelism = Parallelism, CancellationToken = request.Aborted },
            async (i, _) => replies[i] = await writes.DeleteAsync(request, selected[i].Key, (JsonObject)options.DeepClone(), dryRun));

        var output = new ArrayBufferWriter<byte>();
        MetaShapes.WriteListHead(
            output, definition.Kind + "List", definition.ApiVersion, state.Revision.ToString(CultureInfo.InvariantCulture), "", null);
        var first = true;
        foreach (var reply in replies)
        {
            // Somebody else's deletion came first: the object is gone, which is what was asked for.
            if (reply is null || reply.Code == 404)
                continue;
            if (reply.GetError() is { } error)
                throw new StatusException(error);
            if (reply.Object is not { } obj)
                continue;
            output.Write(first ? "{"u8 : ",{"u8);
            output.Write(obj.AsSpan(CanonicalJson.ItemStart(obj)));
            first = false;
        }
        output.Write("]}\n"u8);
        await Replies.WriteAsync(request.Context, 200, output.WrittenMemory, Replies.WantsPretty(request.Http));
    }
}
