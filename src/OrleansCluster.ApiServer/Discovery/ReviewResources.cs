namespace OrleansCluster.ApiServer;

/// <summary>A resource that is answered at once and never stored: it appears in discovery, but has no objects.</summary>
/// <param name="Group">API group.</param>
/// <param name="Version">API version.</param>
/// <param name="Plural">Name in paths.</param>
/// <param name="Singular">Singular name.</param>
/// <param name="Kind">Kind of its body.</param>
/// <param name="Namespaced">True where its path has a namespace.</param>
internal sealed record VirtualResource(string Group, string Version, string Plural, string Singular, string Kind, bool Namespaced)
{
    /// <summary>`v1` or `GROUP/v1`.</summary>
    public string ApiVersion => Group.Length == 0 ? Version : $"{Group}/{Version}";

    /// <summary>All of them; each knows the one verb `create`.</summary>
    public static IReadOnlyList<VirtualResource> All { get; } =
    [
        new("", "v1", "bindings", "binding", "Binding", Namespaced: true),
        new("authentication.k8s.io", "v1", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview", Namespaced: false),
        new("authentication.k8s.io", "v1", "tokenreviews", "tokenreview", "TokenReview", Namespaced: false),
        new("authorization.k8s.io", "v1", "localsubjectaccessreviews", "localsubjectaccessreview", "LocalSubjectAccessReview", Namespaced: true),
        new("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview", Namespaced: false),
        new("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview", Namespaced: false),
        new("authorization.k8s.io", "v1", "subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview", Namespaced: false),
    ];

    /// <summary>By the parts of a URL; null if there is none.</summary>
    public static VirtualResource? Find(string group, string version, string plural)
    {
        foreach (var resource in All)
        {
            if (resource.Plural == plural && resource.Group == group && resource.Version == version)
                return resource;
        }
        return null;
    }
}
