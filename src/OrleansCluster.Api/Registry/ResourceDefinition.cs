namespace OrleansCluster.Api;

/// <summary>One column of a kind's Table (`kubectl get`).</summary>
/// <param name="Name">Header, e.g. `Ready`.</param>
/// <param name="Type">`string`, `integer`, `number`, `boolean` or `date`.</param>
/// <param name="Priority">0 is always shown, 1 only with `-o wide`.</param>
/// <param name="Format">`name` for the name column, else empty.</param>
public sealed record TableColumn(string Name, string Type = "string", int Priority = 0, string Format = "");

/// <summary>A subresource of a kind, as discovery shows it.</summary>
/// <param name="Name">`status`, `scale`, `binding`, `log`, ...</param>
/// <param name="Verbs">Verbs in discovery's spelling, sorted.</param>
/// <param name="Kind">Kind of its body, e.g. `Scale`.</param>
/// <param name="Group">Group of that kind where it differs from the resource's, else null.</param>
/// <param name="Version">Version of that kind where it differs, else null.</param>
public sealed record SubresourceDefinition(string Name, IReadOnlyList<string> Verbs, string Kind, string? Group = null, string? Version = null);

/// <summary>
/// Everything the system knows about one resource: names, scope, verbs, subresources, columns and the strategy with the kind's own rules.
/// A kind is one file that makes one of these and one line in <see cref="BuiltInResources"/>.
/// </summary>
public sealed record ResourceDefinition
{
    /// <summary>API group; empty for the core group.</summary>
    public required string Group { get; init; }

    /// <summary>API version, e.g. `v1`.</summary>
    public required string Version { get; init; }

    /// <summary>Kind, e.g. `Pod`.</summary>
    public required string Kind { get; init; }

    /// <summary>Plural name in paths, e.g. `pods`.</summary>
    public required string Plural { get; init; }

    /// <summary>Singular name, e.g. `pod`.</summary>
    public required string Singular { get; init; }

    /// <summary>True where objects live in namespaces.</summary>
    public required bool Namespaced { get; init; }

    /// <summary>Short names, e.g. `po`.</summary>
    public IReadOnlyList<string> ShortNames { get; init; } = [];

    /// <summary>Categories, e.g. `all`.</summary>
    public IReadOnlyList<string> Categories { get; init; } = [];

    /// <summary>Verbs in discovery's spelling and order.</summary>
    public IReadOnlyList<string> Verbs { get; init; } =
        ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

    /// <summary>Subresources.</summary>
    public IReadOnlyList<SubresourceDefinition> Subresources { get; init; } = [];

    /// <summary>Table columns, the wide ones included.</summary>
    public IReadOnlyList<TableColumn> Columns { get; init; } = [new("Name", Format: "name"), new("Created At", "date")];

    /// <summary>The kind's own rules.</summary>
    public required ResourceStrategy Strategy { get; init; }

    /// <summary>True where DELETE answers with the object rather than with a Status.</summary>
    public bool DeleteReturnsObject { get; init; }

    /// <summary>True where a PUT of an absent object creates it.</summary>
    public bool AllowCreateOnUpdate { get; init; }

    /// <summary>True where a PUT without resourceVersion is accepted.</summary>
    public bool AllowUnconditionalUpdate { get; init; } = true;

    /// <summary>True where deletion without a propagation policy orphans the dependents (ReplicationController and Job of v1).</summary>
    public bool OrphanByDefault { get; init; }

    /// <summary>How long an object lives after its last write, for kinds such as Event; null for ever.</summary>
    public TimeSpan? TimeToLive { get; init; }

    /// <summary>Key of the resource in stores, caches and grain keys: `pods`, `replicasets.apps`.</summary>
    public string Resource => Group.Length == 0 ? Plural : $"{Plural}.{Group}";

    /// <summary>`v1` or `apps/v1`.</summary>
    public string ApiVersion => Group.Length == 0 ? Version : $"{Group}/{Version}";

    /// <summary>The key of one object.</summary>
    public ObjectKey Key(string @namespace, string name) => new(Resource, Namespaced ? @namespace : "", name);
}
