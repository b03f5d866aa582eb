using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster;

/// <summary>
/// Writes API objects through their grains. A call that timed out or met a dying silo has an unknown outcome; it is repeated with the same uid, the
/// same body and the note that it is a repetition. The grain remembers its last requests, recognises a create by its uid, and where it cannot tell
/// whether the first call went through, answers 504 instead of doing a thing twice (docs/decisions/0014). Safe for concurrent use.
/// </summary>
/// <param name="grains">Where the object grains are reached.</param>
/// <param name="time">Clock of the back-off.</param>
/// <param name="user">In whose name to write.</param>
/// <param name="revisionOf">
/// A revision of a resource that is not newer than now, or -1: with it a repetition whose first call may have gone through is decided for certain. Null: unknown.
/// </param>
/// <param name="random">
/// Source of uids, generated names and jitter; must be safe for concurrent use, as <see cref="Random.Shared"/> is, which stands in for null. A seeded one makes a run repeatable.
/// </param>
public sealed class ObjectWriter(IGrainFactory grains, TimeProvider time, UserInfo user, Random? random = null, Func<string, long>? revisionOf = null)
{
    private readonly Random _random = random ?? Random.Shared;

    /// <summary>
    /// How long a request is repeated: longer than the cluster takes to declare a killed silo dead and to find its grains elsewhere, shorter than clients
    /// wait. One call without an answer takes the response time-out of that.
    /// </summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan MaxPause = TimeSpan.FromSeconds(1);

    /// <summary>Names tried for one `generateName` before AlreadyExists is passed on (27^5 names a prefix: a clash is rare, eight are not).</summary>
    public const int MaxGeneratedNames = 8;

    private static readonly string[] Groups = [];

    /// <summary>Runs one write and returns the grain's reply, errors included.</summary>
    /// <exception cref="StatusException">No silo answered: 504 with an unknown outcome.</exception>
    public async Task<ObjectReply> ExecuteAsync(ObjectKey key, ObjectRequest request, CancellationToken cancellationToken)
    {
        var named = request with
        {
            UserName = user.Name,
            UserGroups = user.Groups as string[] ?? [.. user.Groups ?? Groups],
            UserUid = user.Uid,
            RequestId = NewUid(),
            SentAfter = revisionOf?.Invoke(key.Resource) ?? -1,
        };
        var started = time.GetTimestamp();
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                var reply = await grains.GetGrain<IObjectGrain>(key.ToString()).ExecuteAsync(named, cancellationToken);
                if (!reply.NotTried || time.GetElapsedTime(started) > Patience)
                    return reply;
                await Task.Delay(Backoff(attempt), time, cancellationToken);
            }
            catch (Exception error) when (GrainCalls.IsUnavailable(error) && !cancellationToken.IsCancellationRequested)
            {
                var pause = Backoff(attempt);
                if (time.GetElapsedTime(started) + pause > Patience)
                {
                    throw new StatusException(named.Repeated
                        ? StatusError.Timeout("the outcome of the request is unknown: no silo answered for " + key)
                        : StatusError.ServiceUnavailable("no silo can be reached; nothing has been written"));
                }
                named = named with { Repeated = named.Repeated || !GrainCalls.IsNotSent(error) };
                await Task.Delay(pause, time, cancellationToken);
            }
        }
    }

    /// <summary>Creates an object; with `generateName` and no name it chooses one. Returns it as stored.</summary>
    /// <exception cref="StatusException">The request was refused.</exception>
    public async Task<ObjectReply> CreateAsync(ResourceDefinition definition, JsonObject obj, CancellationToken cancellationToken)
    {
        var metadata = obj["metadata"] as JsonObject ?? [];
        var @namespace = (string?)metadata["namespace"] ?? "";
        var name = (string?)metadata["name"];
        var prefix = (string?)metadata["generateName"];
        var body = CanonicalJson.SerializeNode(obj);
        for (var attempt = 1; ; attempt++)
        {
            var chosen = string.IsNullOrEmpty(name) ? GeneratedName.Make(prefix ?? "", _random) : name;
            var reply = await ExecuteAsync(
                definition.Key(@namespace, chosen),
                new ObjectRequest { Verb = ObjectVerb.Create, Body = body, NewUid = NewUid(), FieldValidation = FieldValidation.Ignore },
                cancellationToken);
            if (reply.Code == 409 && string.IsNullOrEmpty(name) && attempt < MaxGeneratedNames)
                continue;
            return Succeed(reply);
        }
    }

    /// <summary>Replaces an object.</summary>
    /// <exception cref="StatusException">The request was refused.</exception>
    public async Task<ObjectReply> UpdateAsync(ObjectKey key, JsonObject obj, string subresource, CancellationToken cancellationToken) =>
        Succeed(await ExecuteAsync(
            key,
            new ObjectRequest
            {
                Verb = ObjectVerb.Update,
                Subresource = subresource,
                Body = CanonicalJson.SerializeNode(obj),
                FieldValidation = FieldValidation.Ignore,
            },
            cancellationToken));

    /// <summary>Applies a merge patch.</summary>
    /// <exception cref="StatusException">The request was refused.</exception>
    public async Task<ObjectReply> PatchAsync(ObjectKey key, JsonObject mergePatch, string subresource, CancellationToken cancellationToken) =>
        Succeed(await ExecuteAsync(
            key,
            new ObjectRequest
            {
                Verb = ObjectVerb.Patch,
                Subresource = subresource,
                Body = CanonicalJson.SerializeNode(mergePatch),
                ContentType = MediaTypes.MergePatch,
                FieldValidation = FieldValidation.Ignore,
            },
            cancellationToken));

    /// <summary>Deletes an object; null if it was not there.</summary>
    /// <exception cref="StatusException">The request was refused, e.g. by a precondition.</exception>
    public async Task<ObjectReply?> DeleteAsync(ObjectKey key, DeleteOptions options, CancellationToken cancellationToken)
    {
        var reply = await ExecuteAsync(
            key,
            new ObjectRequest { Verb = ObjectVerb.Delete, Body = CanonicalJson.SerializeNode(ToJson(options)) },
            cancellationToken);
        return reply.Code == 404 ? null : Succeed(reply);
    }

    private static ObjectReply Succeed(ObjectReply reply) =>
        reply.GetError() is { } error ? throw new StatusException(error) : reply;

    // A version 4 uid (RFC 9562), made once per chosen name: a repeated call carries the same.
    private Guid NewUid()
    {
        Span<byte> bytes = stackalloc byte[16];
        _random.NextBytes(bytes);
        bytes[6] = (byte)((bytes[6] & 0x0f) | 0x40);
        bytes[8] = (byte)((bytes[8] & 0x3f) | 0x80);
        return new Guid(bytes, bigEndian: true);
    }

    // Doubling, each somewhere between half and the whole of it, so that callers of a dead silo do not return in step.
    private TimeSpan Backoff(int attempt) =>
        TimeSpan.FromTicks(Math.Min(MaxPause.Ticks, FirstPause.Ticks << Math.Min(attempt - 1, 10))) * (0.5 + (_random.NextDouble() / 2));

    private static JsonObject ToJson(DeleteOptions options)
    {
        var json = new JsonObject { ["kind"] = "DeleteOptions", ["apiVersion"] = "v1" };
        if (options.GracePeriodSeconds is { } grace)
            json["gracePeriodSeconds"] = grace;
        if (options.PropagationPolicy is { } policy)
            json["propagationPolicy"] = policy;
        var preconditions = new JsonObject();
        if (options.PreconditionUid is { } uid)
            preconditions["uid"] = uid;
        if (options.PreconditionResourceVersion is { } version)
            preconditions["resourceVersion"] = version;
        if (preconditions.Count > 0)
            json["preconditions"] = preconditions;
        return json;
    }
}

/// <summary>Media types of bodies and patches.</summary>
public static class MediaTypes
{
    /// <summary>Plain JSON.</summary>
    public const string Json = "application/json";

    /// <summary>RFC 6902.</summary>
    public const string JsonPatch = "application/json-patch+json";

    /// <summary>RFC 7386.</summary>
    public const string MergePatch = "application/merge-patch+json";

    /// <summary>Kubernetes' strategic merge patch.</summary>
    public const string StrategicMergePatch = "application/strategic-merge-patch+json";

    /// <summary>Server-side apply.</summary>
    public const string ApplyPatch = "application/apply-patch+yaml";
}

/// <summary>Names made from `generateName` (wire contract, section 5).</summary>
public static class GeneratedName
{
    private const int MaxPrefix = 58;
    private const string Alphabet = "bcdfghjklmnpqrstvwxz2456789";

    /// <summary>The prefix cut to 58 characters and five characters from an alphabet without vowels and look-alikes.</summary>
    public static string Make(string prefix) =>
        string.Concat(Head(prefix), System.Security.Cryptography.RandomNumberGenerator.GetString(Alphabet, 5));

    /// <summary>The same from a given source of randomness.</summary>
    public static string Make(string prefix, Random random) => string.Concat(Head(prefix), random.GetString(Alphabet, 5));

    private static ReadOnlySpan<char> Head(string prefix) => prefix.Length > MaxPrefix ? prefix.AsSpan(0, MaxPrefix) : prefix;
}
