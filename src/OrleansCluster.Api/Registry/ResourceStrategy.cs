using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>What a strategy step may know about the request.</summary>
/// <param name="Definition">The resource.</param>
/// <param name="Key">The object's key.</param>
/// <param name="User">The caller.</param>
/// <param name="Now">Time of the request, UTC.</param>
public sealed record StrategyContext(ResourceDefinition Definition, ObjectKey Key, UserInfo User, DateTimeOffset Now)
{
    /// <summary>Warnings for the client (`Warning: 299 - "..."`); steps append.</summary>
    public List<string> Warnings { get; } = [];
}

/// <summary>
/// The rules of one kind. <see cref="ObjectPipeline"/> owns the order of the steps and everything no kind may forget (uid, times, generation,
/// names, labels, finalizers); a strategy fills in what is its own. Strategies hold no state and are shared by all requests.
/// Steps receive private copies: they may mutate `obj`, never `old`.
/// </summary>
public abstract class ResourceStrategy
{
    private HeaderFields? _headerFields;

    /// <summary>True where `metadata.generation` counts changes of the spec.</summary>
    public virtual bool TracksGeneration => false;

    /// <summary>True where the kind has `status` behind its own subresource, so that main writes keep the stored status.</summary>
    public virtual bool HasStatus => false;

    /// <summary>True where a create keeps the status that the client sent (a node registers itself with its status).</summary>
    public virtual bool KeepsStatusOnCreate => false;

    /// <summary>False where deletion ignores propagation policies, because nothing depends on objects of this kind (Event).</summary>
    public virtual bool CollectsDependents => true;

    /// <summary>Where the scale subresource finds its numbers, or null where the kind has none.</summary>
    public virtual ScaleMapping? Scale => null;

    /// <summary>Rule that names of this kind obey.</summary>
    public virtual NameRule NameRule => NameRule.DnsSubdomain;

    /// <summary>Fills defaults, after decoding and on every write, before <see cref="PrepareForCreate"/>. Must be idempotent.</summary>
    public virtual void Default(JsonObject obj) { }

    /// <summary>After defaulting, before validation: clears or sets what clients may not choose at creation (such as status).</summary>
    public virtual void PrepareForCreate(JsonObject obj, StrategyContext context) { }

    /// <summary>After defaulting, before validation: keeps what this write may not change.</summary>
    public virtual void PrepareForUpdate(JsonObject obj, JsonObject old, StrategyContext context) { }

    /// <summary>
    /// A write of the status subresource, after the template has put the stored members other than metadata and status back: keeps what of the
    /// metadata such a write may not change.
    /// </summary>
    public virtual void PrepareForStatusUpdate(JsonObject obj, JsonObject old, StrategyContext context) { }

    /// <summary>The object is being marked as deleted; deletionTimestamp is set already. For a phase that says so.</summary>
    public virtual void PrepareForDeletion(JsonObject obj, StrategyContext context) { }

    /// <summary>
    /// True if a write changes what <see cref="TracksGeneration"/> counts: any member but metadata and status. Both objects are defaulted.
    /// </summary>
    public virtual bool ChangesGeneration(JsonObject obj, JsonObject old)
    {
        static bool Counts(string member) => member is not ("kind" or "apiVersion" or "metadata" or "status");
        foreach (var (member, value) in obj)
        {
            if (Counts(member) && !JsonNode.DeepEquals(value, old[member]))
                return true;
        }
        foreach (var (member, value) in old)
        {
            if (Counts(member) && value is not null && obj[member] is null)
                return true;
        }
        return false;
    }

    /// <summary>Checks a whole object; the template has checked metadata. Mutates nothing.</summary>
    public virtual void Validate(JsonObject obj, FieldErrors errors) { }

    /// <summary>Checks a change: immutable fields and transitions. Runs after <see cref="Validate"/>.</summary>
    public virtual void ValidateUpdate(JsonObject obj, JsonObject old, FieldErrors errors) { }

    /// <summary>Checks a write of the status subresource; metadata and spec are the stored ones already.</summary>
    public virtual void ValidateStatus(JsonObject obj, JsonObject old, FieldErrors errors) { }

    /// <summary>
    /// Applies the body of a subresource other than `status` to the object: a Scale sets `spec.replicas`, a Binding `spec.nodeName`, a Namespace
    /// sent to `finalize` its `spec.finalizers`. <see cref="ObjectPipeline.PrepareUpdate"/> calls it with a private copy of the stored object;
    /// uid and resourceVersion of the body are checked already; the step checks whatever it changes, for nothing else does.
    /// </summary>
    /// <returns>Null, or the error to answer with.</returns>
    public virtual StatusError? ApplySubresource(JsonObject obj, JsonObject body, string subresource, StrategyContext context) =>
        subresource == "scale" && Scale is not null ? ScaleSubresource.Apply(obj, body, context) : StatusError.MethodNotAllowed();

    /// <summary>What a client reads from, and patches through, a subresource: the object itself, or a Scale made from it.</summary>
    public virtual JsonObject View(JsonObject obj, string subresource) =>
        subresource == "scale" && Scale is { } mapping ? ScaleSubresource.Read(obj, mapping) : obj;

    /// <summary>
    /// Grace in seconds for a deletion: null where the kind has no graceful deletion, else what applies given the option (null: none sent).
    /// </summary>
    public virtual long? GracePeriodSeconds(JsonObject obj, long? requested) => null;

    /// <summary>The finalizers that hold the object beyond `metadata.finalizers`, such as a namespace's `spec.finalizers`.</summary>
    public virtual bool HasOwnFinalizers(JsonObject obj) => false;

    /// <summary>
    /// Field selector labels of the kind beyond metadata.name and metadata.namespace, each with the member path its value is read from,
    /// e.g. `spec.nodeName`. An absent member reads as <see cref="SelectableField.Default"/>.
    /// </summary>
    public virtual IReadOnlyList<SelectableField> SelectableFields => [];

    /// <summary>How headers of this kind are read; made once, for <see cref="ObjectHeader"/>.</summary>
    internal HeaderFields HeaderFields => _headerFields ??= new HeaderFields(SelectableFields);

    /// <summary>The cells of one Table row, in the order of the definition's columns.</summary>
    /// <param name="obj">The object; parse only what the cells need.</param>
    /// <param name="now">For ages.</param>
    /// <param name="row">Receives the cells and, for finished pods, the row condition.</param>
    public virtual void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        var metadata = obj.GetProperty("metadata");
        row.Add(metadata.GetProperty("name").GetString());
        row.Add(metadata.TryGetProperty("creationTimestamp", out var created) ? created.GetString() : null);
    }
}

/// <summary>A field that field selectors of a kind may name.</summary>
/// <param name="Label">Name in the selector.</param>
/// <param name="Path">
/// Members to walk, a number for an item of a list; where several paths are given the first non-empty value counts. None: the label itself.
/// </param>
public sealed record SelectableField(string Label, params string[] Path)
{
    /// <summary>The value of an absent member.</summary>
    public string Default { get; init; } = "";

    /// <summary>The paths split into members.</summary>
    public IReadOnlyList<string[]> Members { get; } = [.. (Path.Length == 0 ? [Label] : Path).Select(p => p.Split('.'))];
}

/// <summary>Which form a kind's names have.</summary>
public enum NameRule
{
    /// <summary>RFC 1123 subdomain, at most 253 characters: most kinds.</summary>
    DnsSubdomain,

    /// <summary>RFC 1123 label, at most 63 characters: Namespace.</summary>
    DnsLabel,

    /// <summary>RFC 1035 label, at most 63 characters: Service.</summary>
    Dns1035Label,

    /// <summary>Any path segment (no `/`, no `%`, not `.` or `..`): RBAC kinds.</summary>
    PathSegment,
}
