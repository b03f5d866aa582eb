using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Creates, updates, patches and deletions of one object. The data path of a create:
/// <code>
/// body --(1) encoding to JSON--> (2) skim name and namespace --(3) ObjectRequest--> object grain --(4) ObjectReply--> (5) HTTP answer
/// </code>
/// What the object must look like is the grain's matter; here only the request's own form is checked.
/// </summary>
internal sealed class WriteHandler(
    IGrainFactory grains, TimeProvider time, RequestBody bodies, ReadHandler reads, RbacAuthorizer authorizer, RoleEscalation escalation,
    Func<Guid> newUid, IResourceCaches caches)
{
    /// <summary>The newest revision of each resource that a write through this server was answered with.</summary>
    private readonly ConcurrentDictionary<string, long> _acknowledged = new(StringComparer.Ordinal);

    /// <summary>Answers a POST to a collection.</summary>
    public async ValueTask CreateAsync(ApiRequest request)
    {
        var format = Negotiation.NegotiateResource(request.Http);
        var options = WriteOptions.Parse(request.Http, "CreateOptions");
        var definition = request.Definition;
        // (1) (2)
        var body = await bodies.ReadObjectAsync(request.Http, request.Aborted);
        var head = ReadHead(request, body);
        var @namespace = CheckNamespace(request, head.Namespace);
        if (head.Name.Length == 0 && head.GenerateName.Length == 0)
        {
            var errors = new FieldErrors();
            errors.Required(FieldPath.Root("metadata").Child("name"), "name or generateName is required");
            throw new StatusException(errors.ToStatus(definition.Kind, definition.Group, ""));
        }
        var grainRequest = Compose(ObjectVerb.Create, request, body, options);
        await escalation.CheckCreateAsync(request, body);

        var reply = await CreateAsync(request, head, @namespace, grainRequest);
        await AnswerAsync(request, reply, format);
    }

    /// <summary>Answers a PUT.</summary>
    public async ValueTask UpdateAsync(ApiRequest request)
    {
        var format = Negotiation.NegotiateResource(request.Http);
        var options = WriteOptions.Parse(request.Http, "UpdateOptions");
        var definition = request.Definition;
        var body = await bodies.ReadObjectAsync(request.Http, request.Aborted);
        var head = ReadHead(request, body);
        CheckName(request, head.Name);
        CheckNamespace(request, head.Namespace);
        await escalation.CheckUpdateAsync(request, body);

        var grainRequest = Compose(ObjectVerb.Update, request, body, options);
        var reply = await ExecuteAsync(request, request.Key, grainRequest);
        if (reply.Code == 404 && definition.AllowCreateOnUpdate && request.Info.Subresource.Length == 0)
        {
            await RequireCreateAsync(request);
            reply = await ExecuteAsync(request, request.Key, grainRequest with { Verb = ObjectVerb.Create });
        }
        await AnswerAsync(request, reply, format);
    }

    /// <summary>Answers a PATCH.</summary>
    public async ValueTask PatchAsync(ApiRequest request)
    {
        var format = Negotiation.NegotiateResource(request.Http);
        var (body, mediaType) = await bodies.ReadPatchAsync(request.Http, request.Aborted);
        var options = WriteOptions.Parse(request.Http, "PatchOptions", isApply: mediaType == MediaTypes.ApplyPatch);
        var grainRequest = Compose(ObjectVerb.Patch, request, body, options) with { ContentType = mediaType };
        if (escalation.Guards(request))
        {
            await AnswerAsync(request, await PatchRoleAsync(request, grainRequest), format);
            return;
        }
        await AnswerAsync(request, await ExecuteAsync(request, request.Key, grainRequest), format);
    }

    /// <summary>Answers a DELETE of one object.</summary>
    public async ValueTask DeleteAsync(ApiRequest request)
    {
        var format = Negotiation.NegotiateResource(request.Http);
        var (options, dryRun) = await ReadDeleteOptionsAsync(request);
        var reply = await DeleteAsync(request, request.Key, options, dryRun);
        var definition = request.Definition;
        if (!reply.IsSuccess || definition.DeleteReturnsObject || !reply.Removed || reply.Object is null)
        {
            await AnswerAsync(request, reply, format);
            return;
        }
        Replies.AddWarnings(request.Response, reply.Warnings);
        await Replies.WriteAsync(request.Context, 200, Replies.Success(details: Details(definition, request.Info.Name, reply.Object)));
    }

    /// <summary>Runs one deletion.</summary>
    public Task<ObjectReply> DeleteAsync(ApiRequest request, ObjectKey key, JsonObject options, bool dryRun) =>
        ExecuteAsync(request, key, new ObjectRequest
        {
            Verb = ObjectVerb.Delete,
            Body = CanonicalJson.SerializeNode(options),
            DryRun = dryRun,
        });

    /// <summary>DeleteOptions of a DELETE: its body, or its query where there is no body.</summary>
    public async ValueTask<(JsonObject Options, bool DryRun)> ReadDeleteOptionsAsync(ApiRequest request)
    {
        var query = request.Http.Query;
        var errors = new FieldErrors();
        var dryRun = QueryValues.DryRun(query, errors);
        var body = await bodies.ReadObjectAsync(request.Http, request.Aborted);
        JsonObject options;
        if (body.Length > 0)
        {
            options = ParseDeleteOptions(body);
            dryRun |= IsDryRun(options);
        }
        else
        {
            options = [];
            if (QueryValues.Integer(query, "gracePeriodSeconds") is { } grace)
                options["gracePeriodSeconds"] = grace;
            if (QueryValues.Text(query, "propagationPolicy") is { Length: > 0 } policy)
                options["propagationPolicy"] = policy;
            if (QueryValues.Flag(query, "orphanDependents") is { } orphan)
                options["orphanDependents"] = orphan;
        }
        if (!errors.IsEmpty)
            throw new StatusException(errors.ToStatus("DeleteOptions", "meta.k8s.io", ""));
        return (options, dryRun);
    }

    /// <summary>Whether `dryRun` of DeleteOptions asks for one. Another form than a list is left to the decoder, which refuses it.</summary>
    /// <exception cref="StatusException">422: a value is not `All`.</exception>
    public static bool IsDryRun(JsonObject options)
    {
        if (options["dryRun"] is not JsonArray { Count: > 0 } values)
            return false;
        var errors = new FieldErrors();
        foreach (var value in values)
        {
            if (value is not JsonValue text || !text.TryGetValue<string>(out var name) || name != "All")
                errors.NotSupported(FieldPath.Root("dryRun"), value?.ToString(), ["All"]);
        }
        return errors.IsEmpty ? true : throw new StatusException(errors.ToStatus("DeleteOptions", "meta.k8s.io", ""));
    }

    /// <summary>Answers with what a grain replied.</summary>
    public ValueTask AnswerAsync(ApiRequest request, ObjectReply reply, ResponseFormat format)
    {
        Replies.AddWarnings(request.Response, reply.Warnings);
        if (reply.GetError() is { } error)
            return Replies.WriteErrorAsync(request.Context, error);
        var obj = reply.Object ?? throw new InvalidOperationException("A successful reply carries an object.");
        return reads.WriteObjectAsync(request, reply.Code, View(request, obj), format);
    }

    /// <summary>Runs one write in the caller's name.</summary>
    public async Task<ObjectReply> ExecuteAsync(ApiRequest request, ObjectKey key, ObjectRequest grainRequest)
    {
        var reply = await new ObjectWriter(grains, time, request.Caller.User, revisionOf: RevisionOf)
            .ExecuteAsync(key, grainRequest with { NewUid = newUid() }, request.Aborted);
        if (reply.IsSuccess)
            _acknowledged.AddOrUpdate(key.Resource, reply.Revision, (_, known) => Math.Max(known, reply.Revision));
        return reply;
    }

    // The cache is some milliseconds behind; a caller that writes one object again and again is ahead of it, but not of what it was answered.
    private long RevisionOf(string resource) =>
        Math.Max(caches.Get(resource).Current?.Revision ?? -1, _acknowledged.GetValueOrDefault(resource, -1));

    private async Task<ObjectReply> CreateAsync(ApiRequest request, BodyHead head, string @namespace, ObjectRequest grainRequest)
    {
        var definition = request.Definition;
        if (head.Name.Length > 0)
            return await ExecuteAsync(request, definition.Key(@namespace, head.Name), grainRequest);
        for (var attempt = 1; ; attempt++)
        {
            var name = GeneratedName.Make(head.GenerateName);
            var reply = await ExecuteAsync(request, definition.Key(@namespace, name), grainRequest);
            if (reply.Code != 409)
                return reply;
            if (attempt == ObjectWriter.MaxGeneratedNames)
            {
                var error = StatusError.AlreadyExists(definition.Plural, definition.Group, name);
                throw new StatusException(error with
                {
                    Message = error.Message + ", the server was not able to generate a unique name for the object",
                    RetryAfterSeconds = 1,
                });
            }
        }
    }

    /// <summary>Who may only update must not create by updating what is not there.</summary>
    private async ValueTask RequireCreateAsync(ApiRequest request)
    {
        var access = new AccessAttributes(
            Verbs.Create, request.Info.Group, request.Info.Resource, request.Info.AuthorizationNamespace, request.Info.Name);
        if (!(await authorizer.AuthorizeAsync(request.Caller.User, access, request.Aborted)).Allowed)
            throw new StatusException(AccessDenied.Resource(request.Caller.User, access));
    }

    /// <summary>
    /// A patch of a role or binding by a caller who must not gain rights by it: the patch is tried without writing, its result is checked, and
    /// exactly that result is written under the revision it was made from. A change in between shows as a conflict and is tried again.
    /// </summary>
    private async Task<ObjectReply> PatchRoleAsync(ApiRequest request, ObjectRequest patch)
    {
        const int MaxAttempts = 5;
        for (var attempt = 1; ; attempt++)
        {
            var trial = await ExecuteAsync(request, request.Key, patch with { DryRun = true });
            if (!trial.IsSuccess || trial.Object is null)
                return trial;
            await escalation.CheckUpdateAsync(request, trial.Object);
            if (patch.DryRun)
                return trial;
            var write = patch with { Verb = ObjectVerb.Update, Body = trial.Object, ContentType = MediaTypes.Json };
            var reply = await ExecuteAsync(request, request.Key, write);
            if (reply.Code != 409 || attempt == MaxAttempts)
                return reply;
        }
    }

    private static ReadOnlyMemory<byte> View(ApiRequest request, byte[] obj)
    {
        var subresource = request.Info.Subresource;
        if (subresource.Length == 0 || subresource == "status")
            return obj;
        var parsed = CanonicalJson.Parse(obj);
        // The grain may answer with the view already.
        return (string?)parsed["kind"] == request.Definition.Kind
            ? CanonicalJson.SerializeNode(request.Definition.Strategy.View(parsed, subresource))
            : obj;
    }

    private static ObjectRequest Compose(ObjectVerb verb, ApiRequest request, byte[] body, WriteOptions options) => new()
    {
        Verb = verb,
        Subresource = request.Info.Subresource,
        Body = body,
        DryRun = options.DryRun,
        FieldManager = options.FieldManager.Length > 0 ? options.FieldManager : ManagerFromUserAgent(request),
        FieldValidation = options.FieldValidation,
        Force = options.Force,
    };

    private static string ManagerFromUserAgent(ApiRequest request)
    {
        var agent = request.Http.Headers.UserAgent.ToString();
        var slash = agent.IndexOf('/', StringComparison.Ordinal);
        return slash < 0 ? agent : agent[..slash];
    }

    private static BodyHead ReadHead(ApiRequest request, byte[] body)
    {
        var definition = request.Definition;
        var (kind, apiVersion) = ExpectedBody(request);
        var head = BodyHead.Read(body, kind);
        if (head.ApiVersion.Length > 0 && head.ApiVersion != apiVersion)
        {
            throw new StatusException(StatusError.BadRequest(
                $"the API version in the data ({head.ApiVersion}) does not match the expected API version ({apiVersion})"));
        }
        if (head.Kind.Length > 0 && head.Kind != kind)
        {
            throw new StatusException(StatusError.BadRequest(
                $"{head.Kind} in version \"{definition.Version}\" cannot be handled as a {kind}: the kind in the data ({head.Kind}) does not match the expected kind ({kind})"));
        }
        return head;
    }

    private static (string Kind, string ApiVersion) ExpectedBody(ApiRequest request)
    {
        var definition = request.Definition;
        foreach (var subresource in definition.Subresources)
        {
            if (subresource.Name == request.Info.Subresource)
            {
                var version = subresource.Version ?? definition.Version;
                var group = subresource.Group ?? definition.Group;
                return (subresource.Kind, group.Length == 0 ? version : $"{group}/{version}");
            }
        }
        return (definition.Kind, definition.ApiVersion);
    }

    private static void CheckName(ApiRequest request, string name)
    {
        if (name.Length > 0 && name != request.Info.Name)
        {
            throw new StatusException(StatusError.BadRequest(
                $"the name of the object ({name}) does not match the name on the URL ({request.Info.Name})"));
        }
    }

    private static string CheckNamespace(ApiRequest request, string @namespace)
    {
        var ofPath = request.Info.Namespace;
        if (!request.Definition.Namespaced || @namespace.Length == 0 || @namespace == ofPath)
            return ofPath;
        throw new StatusException(StatusError.BadRequest("the namespace of the provided object does not match the namespace sent on the request"));
    }

    private static JsonObject ParseDeleteOptions(byte[] body)
    {
        var options = RequestBody.ParseObject(body, "DeleteOptions");
        if (options["kind"] is null || (options["kind"] is JsonValue kind && kind.TryGetValue<string>(out var text) && text is "DeleteOptions" or ""))
            return options;
        throw new StatusException(StatusError.BadRequest("the body of the request is not a DeleteOptions object"));
    }

    private static JsonObject Details(ResourceDefinition definition, string name, byte[] obj)
    {
        var details = new JsonObject { ["name"] = name };
        if (definition.Group.Length > 0)
            details["group"] = definition.Group;
        details["kind"] = definition.Plural;
        details["uid"] = (string?)CanonicalJson.Parse(obj)["metadata"]?["uid"];
        return details;
    }
}
