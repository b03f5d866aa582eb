using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Objects;

/// <summary>
/// Judges a repetition of a request whose first call had no answer and may have been carried out (docs/decisions/0014):
/// <code>
/// create   the uid is there, or was (change log)                       → it was ours: 201 with what was created
/// delete   it has been removed since, by whomever                      → 200 with its last state
/// others   the object has not changed since the request was first sent → carry it out; the commit's expected revision keeps a late first call out
///          it has changed, and the request would change nothing now    → 200: its effect is there
///          it has changed otherwise                                    → 504: ours or another's, nobody can tell; never a second time
/// refusal  NotFound and AlreadyExists may be otherwise when the first call comes, a Conflict stays → 504
/// </code>
/// Where the caller does not know a revision from before (`SentAfter`), merge patches and updates are carried out again, as level-triggered callers want.
/// </summary>
internal static class RepeatedWrite
{
    private const int LogPage = 1000;

    /// <summary>What is known.</summary>
    /// <param name="Code">Status code of an answer.</param>
    /// <param name="Object">The object of an answer, or null.</param>
    /// <param name="Error">The refusal, or null.</param>
    internal sealed record Verdict(int Code, StoredObject? Object, StatusError? Error);

    /// <summary>The answer, or null: carry the request out.</summary>
    public static async ValueTask<Verdict?> JudgeAsync(
        ObjectRequest request, ResourceDefinition definition, ObjectKey key, StoredObject? current, ObjectGrainServices services, CancellationToken cancellationToken)
    {
        if (request.DryRun)
            return null;
        if (request.Verb == ObjectVerb.Create)
            return await JudgeCreateAsync(request, key, current, services, cancellationToken);
        if (request.SentAfter < 0)
            return request.ContentType == MediaTypes.JsonPatch && request.Verb == ObjectVerb.Patch ? IsUnclear(key) : null;
        if (request.Verb == ObjectVerb.Delete && current is null)
            return await JudgeDeleteAsync(request.SentAfter, key, services.Store, cancellationToken);
        if (!await HasChangedAsync(request.SentAfter, key, current, services.Store, cancellationToken))
            return null;
        return current is not null && await ChangesNothingAsync(request, definition, key, current, services, cancellationToken)
            ? new Verdict(200, current, null)
            : IsUnclear(key);
    }

    private static async ValueTask<Verdict?> JudgeCreateAsync(
        ObjectRequest request, ObjectKey key, StoredObject? current, ObjectGrainServices services, CancellationToken cancellationToken)
    {
        var uid = request.NewUid.ToString();
        if (current is not null && UidOf(current.Value) == uid)
            return new Verdict(201, current, null);
        if (request.SentAfter < 0)
            return null;
        try
        {
            await foreach (var change in ChangesAsync(key, request.SentAfter, services.Store, cancellationToken))
            {
                if (UidOf(change.Value) == uid)
                    return new Verdict(201, new StoredObject(change.Key, change.Revision, change.Value), null); // Created and deleted since.
            }
            return null;
        }
        catch (CompactedException)
        {
            return IsUnclear(key);
        }
    }

    // Whoever removed it since: what was asked for is so.
    private static async ValueTask<Verdict?> JudgeDeleteAsync(long since, ObjectKey key, IObjectStore store, CancellationToken cancellationToken)
    {
        try
        {
            StoredChange? last = null;
            await foreach (var change in ChangesAsync(key, since, store, cancellationToken))
                last = change;
            return last is { Kind: CommitKind.Delete } ? new Verdict(200, new StoredObject(last.Key, last.Revision, last.Value), null) : null;
        }
        catch (CompactedException)
        {
            return IsUnclear(key);
        }
    }

    private static async ValueTask<bool> HasChangedAsync(
        long since, ObjectKey key, StoredObject? current, IObjectStore store, CancellationToken cancellationToken)
    {
        if (current is not null)
            return current.Revision > since;
        try
        {
            await foreach (var _ in ChangesAsync(key, since, store, cancellationToken))
                return true;
            return false;
        }
        catch (CompactedException)
        {
            return true;
        }
    }

    private static async IAsyncEnumerable<StoredChange> ChangesAsync(
        ObjectKey key, long since, IObjectStore store, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        while (true)
        {
            var page = await store.ReadChangesAsync(key.Resource, since, LogPage, TimeSpan.Zero, cancellationToken);
            foreach (var change in page)
            {
                if (change.Key == key.StorageKey)
                    yield return change;
            }
            if (page.Count < LogPage)
                yield break;
            since = page[^1].Revision;
        }
    }

    private static async ValueTask<bool> ChangesNothingAsync(
        ObjectRequest request, ResourceDefinition definition, ObjectKey key, StoredObject current, ObjectGrainServices services, CancellationToken cancellationToken)
    {
        if (request.Verb == ObjectVerb.Bind)
            return false;
        // The resourceVersion that an update names is that of before its own first call.
        var free = request.Verb == ObjectVerb.Update ? request with { Body = WithoutRevision(request.Body) } : request;
        var result = await new ObjectWrite(definition, key, free, current, decision: 0, services).DecideAsync(cancellationToken);
        return result.Outcome == PipelineOutcome.Unchanged;
    }

    private static byte[] WithoutRevision(byte[] body)
    {
        if (JsonNode.Parse(body) is not JsonObject obj || obj["metadata"] is not JsonObject metadata)
            return body;
        metadata.Remove("resourceVersion");
        return CanonicalJson.SerializeNode(obj);
    }

    private static string? UidOf(byte[] value) => (string?)CanonicalJson.Parse(value)["metadata"]?["uid"];

    /// <summary>The refusal of a repetition about which nothing certain can be said: the first call may have been carried out, or may be yet.</summary>
    public static StatusError Unclear(ObjectKey key) =>
        StatusError.Timeout($"the outcome of the request is unknown: its first call had no answer and may have changed {key}, or may yet");

    private static Verdict IsUnclear(ObjectKey key) => new(504, null, Unclear(key));
}
