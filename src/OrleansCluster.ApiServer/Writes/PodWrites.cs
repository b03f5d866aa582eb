using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>The two POSTs below a pod that are not objects: Binding and Eviction (wire contract, section 12).</summary>
internal sealed class PodWrites(RequestBody bodies, WriteHandler writes, ResourceRegistry registry)
{
    /// <summary>POST of a Binding, to `pods/NAME/binding` or to `bindings`, where the body names the pod.</summary>
    public async ValueTask BindAsync(ApiRequest request)
    {
        Negotiation.RequireJson(request.Http);
        var options = WriteOptions.Parse(request.Http, "CreateOptions");
        var body = await bodies.ReadObjectAsync(request.Http, request.Aborted);
        var head = Read(body, "Binding", "v1");
        var name = request.Info.Name.Length > 0 ? request.Info.Name : head.Name;
        CheckPlace(request, head, name);
        var reply = await writes.ExecuteAsync(request, PodKey(request, name), new ObjectRequest
        {
            Verb = ObjectVerb.Bind,
            Subresource = "binding",
            Body = body,
            DryRun = options.DryRun,
            FieldManager = options.FieldManager,
        });
        await AnswerAsync(request, reply);
    }

    /// <summary>POST of an Eviction: a graceful deletion. Its dry run stands in the body (wire contract, section 5).</summary>
    public async ValueTask EvictAsync(ApiRequest request)
    {
        Negotiation.RequireJson(request.Http);
        var options = WriteOptions.Parse(request.Http, "CreateOptions");
        var body = await bodies.ReadObjectAsync(request.Http, request.Aborted);
        var head = Read(body, "Eviction", "policy/v1");
        CheckPlace(request, head, request.Info.Name);
        var deletion = RequestBody.ParseObject(body, "Eviction")["deleteOptions"] switch
        {
            null => [],
            JsonObject inner => (JsonObject)inner.DeepClone(),
            _ => throw new StatusException(StatusError.BadRequest(
                "Eviction in version \"v1\" cannot be handled as a Eviction: json: cannot unmarshal value into field Eviction.deleteOptions of type v1.DeleteOptions")),
        };
        var dryRun = WriteHandler.IsDryRun(deletion) || options.DryRun;
        var reply = await writes.DeleteAsync(request, PodKey(request, request.Info.Name), deletion, dryRun);
        await AnswerAsync(request, reply);
    }

    private static ValueTask AnswerAsync(ApiRequest request, ObjectReply reply)
    {
        Replies.AddWarnings(request.Response, reply.Warnings);
        return reply.GetError() is { } error
            ? Replies.WriteErrorAsync(request.Context, error)
            : Replies.WriteAsync(request.Context, 201, Replies.Success(201));
    }

    private ObjectKey PodKey(ApiRequest request, string name) => registry.Get("pods").Key(request.Info.Namespace, name);

    private static BodyHead Read(byte[] body, string kind, string apiVersion)
    {
        var head = BodyHead.Read(body, kind);
        if (head.Kind.Length > 0 && head.Kind != kind)
            throw new StatusException(StatusError.BadRequest($"{head.Kind} cannot be handled as a {kind}"));
        if (head.ApiVersion.Length > 0 && head.ApiVersion != apiVersion && !(kind == "Eviction" && head.ApiVersion == "policy/v1beta1"))
        {
            throw new StatusException(StatusError.BadRequest(
                $"the API version in the data ({head.ApiVersion}) does not match the expected API version ({apiVersion})"));
        }
        return head;
    }

    private static void CheckPlace(ApiRequest request, BodyHead head, string name)
    {
        if (name.Length == 0)
            throw new StatusException(StatusError.BadRequest("name must be provided"));
        if (head.Name.Length > 0 && head.Name != name)
        {
            throw new StatusException(StatusError.BadRequest(
                $"the name of the object ({head.Name}) does not match the name on the URL ({name})"));
        }
        if (head.Namespace.Length > 0 && head.Namespace != request.Info.Namespace)
            throw new StatusException(StatusError.BadRequest("the namespace of the provided object does not match the namespace sent on the request"));
    }
}
