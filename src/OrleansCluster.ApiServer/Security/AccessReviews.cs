using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>
/// The reviews: questions about identity and rights that are asked by a POST and answered in its `status`, without being stored
/// (wire contract, section 14): `kubectl auth whoami`, `auth can-i`, and what operators ask on behalf of their users.
/// </summary>
internal sealed class AccessReviews(RequestBody bodies, RbacAuthorizer authorizer, Authentication authentication, TimeProvider time)
{
    /// <summary>Answers a POST of a review.</summary>
    public async ValueTask HandleAsync(ApiRequest request, VirtualResource resource)
    {
        Negotiation.RequireJson(request.Http);
        var body = await bodies.ReadObjectAsync(request.Http, request.Aborted);
        var review = RequestBody.ParseObject(body, resource.Kind);
        if (Text(review, "kind") is { Length: > 0 } kind && kind != resource.Kind)
            throw new StatusException(StatusError.BadRequest($"{kind} cannot be handled as a {resource.Kind}"));
        review["kind"] = resource.Kind;
        review["apiVersion"] = resource.ApiVersion;
        var metadata = review["metadata"] as JsonObject ?? [];
        metadata["creationTimestamp"] = null;
        review["metadata"] = metadata.Parent is null ? metadata : metadata.DeepClone();
        var spec = review["spec"] as JsonObject ?? [];
        review["status"] = resource.Kind switch
        {
            "SelfSubjectReview" => SelfReview(request, review),
            "TokenReview" => ReviewToken(spec),
            "SelfSubjectAccessReview" => await ReviewAccessAsync(request, request.Caller.User, spec, resource.Kind, null),
            "SelfSubjectRulesReview" => await ReviewRulesAsync(request, spec),
            "LocalSubjectAccessReview" => await ReviewAccessAsync(request, SubjectOf(spec, resource.Kind), spec, resource.Kind, request.Info.Namespace),
            _ => await ReviewAccessAsync(request, SubjectOf(spec, resource.Kind), spec, resource.Kind, null),
        };
        await Replies.WriteAsync(request.Context, 201, review);
    }

    private JsonObject SelfReview(ApiRequest request, JsonObject review)
    {
        review["metadata"]!["creationTimestamp"] = time.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'");
        return new JsonObject { ["userInfo"] = UserJson(request.Caller.User) };
    }

    private JsonObject ReviewToken(JsonObject spec)
    {
        var caller = Text(spec, "token") is { Length: > 0 } token ? authentication.AuthenticateToken(token) : null;
        return caller is null
            ? new JsonObject { ["authenticated"] = false, ["error"] = "the token is not valid" }
            : new JsonObject { ["authenticated"] = true, ["user"] = UserJson(caller.User) };
    }

    private async ValueTask<JsonObject> ReviewAccessAsync(ApiRequest request, UserInfo user, JsonObject spec, string kind, string? onlyNamespace)
    {
        var errors = new FieldErrors();
        var path = FieldPath.Root("spec");
        AccessAttributes access = default;
        switch (spec["resourceAttributes"], spec["nonResourceAttributes"])
        {
            case (JsonObject resource, null):
                var name = Text(resource, "resource");
                var subresource = Text(resource, "subresource");
                access = new AccessAttributes(
                    Text(resource, "verb"), Text(resource, "group"), subresource.Length == 0 ? name : $"{name}/{subresource}",
                    Text(resource, "namespace"), Text(resource, "name"));
                if (onlyNamespace is not null && access.Namespace != onlyNamespace)
                    errors.Invalid(path.Child("resourceAttributes").Child("namespace"), access.Namespace, "must match metadata.namespace");
                break;
            case (null, JsonObject nonResource) when onlyNamespace is null:
                access = AccessAttributes.ForPath(Text(nonResource, "verb"), Text(nonResource, "path"));
                break;
            default:
                errors.Invalid(path.Child("resourceAttributes"), null, onlyNamespace is null
                    ? "exactly one of nonResourceAttributes or resourceAttributes must be specified"
                    : "must be specified, and nonResourceAttributes must not");
                break;
        }
        if (!errors.IsEmpty)
            throw new StatusException(errors.ToStatus(kind, "authorization.k8s.io", ""));
        var decision = await authorizer.AuthorizeAsync(user, access, request.Aborted);
        var status = new JsonObject { ["allowed"] = decision.Allowed };
        if (decision.Reason.Length > 0)
            status["reason"] = decision.Reason;
        return status;
    }

    private async ValueTask<JsonObject> ReviewRulesAsync(ApiRequest request, JsonObject spec)
    {
        var @namespace = Text(spec, "namespace");
        if (@namespace.Length == 0)
            throw new StatusException(StatusError.BadRequest("no namespace on request"));
        var resourceRules = new JsonArray();
        var pathRules = new JsonArray();
        foreach (var rule in await authorizer.RulesForAsync(request.Caller.User, @namespace, request.Aborted))
            (rule.NonResourceUrls.Count > 0 ? pathRules : resourceRules).Add((JsonNode)rule.ToJson());
        return new JsonObject { ["resourceRules"] = resourceRules, ["nonResourceRules"] = pathRules, ["incomplete"] = false };
    }

    private static UserInfo SubjectOf(JsonObject spec, string kind)
    {
        var groups = new List<string>();
        foreach (var node in spec["groups"] as JsonArray ?? [])
        {
            if (node is JsonValue value && value.TryGetValue<string>(out var group))
                groups.Add(group);
        }
        var user = Text(spec, "user");
        if (user.Length > 0 || groups.Count > 0)
            return new UserInfo(user, groups, Text(spec, "uid"));
        var errors = new FieldErrors();
        errors.Invalid(FieldPath.Root("spec").Child("user"), user, "at least one of user or group must be specified");
        throw new StatusException(errors.ToStatus(kind, "authorization.k8s.io", ""));
    }

    private static JsonObject UserJson(UserInfo user)
    {
        var json = new JsonObject { ["username"] = user.Name };
        if (user.Uid.Length > 0)
            json["uid"] = user.Uid;
        var groups = new JsonArray();
        foreach (var group in user.Groups)
            groups.Add((JsonNode)group);
        json["groups"] = groups;
        return json;
    }

    private static string Text(JsonObject obj, string member) =>
        obj[member] is JsonValue value && value.TryGetValue<string>(out var text) ? text : "";
}
