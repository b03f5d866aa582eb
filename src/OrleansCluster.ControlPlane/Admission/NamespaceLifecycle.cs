using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Admission;

/// <summary>
/// Objects are created only in namespaces that exist and are not going away, and three namespaces cannot be deleted (wire contract, section 13).
/// </summary>
public sealed class NamespaceLifecycle(IResourceCaches caches) : IAdmissionStep
{
    private static readonly string[] Immortal = ["default", "kube-system", "kube-public"];

    /// <inheritdoc/>
    public IReadOnlyCollection<string>? Resources => null;

    /// <inheritdoc/>
    public async ValueTask AdmitAsync(AdmissionRequest request, CancellationToken cancellationToken)
    {
        if (request.Operation == AdmissionOperation.Delete)
        {
            if (request.Definition.Resource == "namespaces" && Immortal.Contains(request.Key.Name))
                throw request.Forbidden("this namespace may not be deleted");
            return;
        }
        if (request.Operation != AdmissionOperation.Create || !request.Definition.Namespaced)
            return;

        var cache = caches.Get("namespaces");
        var found = (await cache.GetSnapshotAsync(cancellationToken)).Find("", request.Key.Namespace)
            ?? (await cache.GetLatestAsync(cancellationToken)).Find("", request.Key.Namespace);
        if (found is null)
            throw new StatusException(StatusError.NotFound("namespaces", "", request.Key.Namespace));
        if (found.IsDeleting)
        {
            var why = $"unable to create new content in namespace {request.Key.Namespace} because it is being terminated";
            throw new StatusException(StatusError.Forbidden(request.Definition.Plural, request.Definition.Group, request.Key.Name, why) with
            {
                Causes = [new StatusCause("NamespaceTerminating", $"namespace {request.Key.Namespace} is being terminated", "metadata.namespace")],
            });
        }
    }
}
