using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>A discovery document: its bytes and the hash clients cache it by.</summary>
/// <param name="Body">UTF-8 JSON.</param>
/// <param name="ETag">Quoted hash of the body.</param>
internal sealed record DiscoveryDocument(byte[] Body, string ETag)
{
    /// <summary>Makes a document of nodes.</summary>
    public static DiscoveryDocument From(JsonObject json)
    {
        var body = CanonicalJson.SerializeNode(json);
        return new DiscoveryDocument(body, $"\"{Convert.ToHexString(SHA256.HashData(body))}\"");
    }
}

/// <summary>
/// Discovery (wire contract, section 3), made from the registry when first asked for and kept: plain documents per path, and the aggregated ones
/// in both versions.
/// </summary>
internal sealed class DiscoveryDocuments
{
    private readonly ConcurrentDictionary<string, DiscoveryDocument?> _documents = new(StringComparer.Ordinal);
    private readonly IReadOnlyList<GroupVersion> _groupVersions;

    public DiscoveryDocuments(ResourceRegistry registry) => _groupVersions = Order(registry);

    /// <summary>Group and version pairs that are served, in discovery order.</summary>
    public IEnumerable<(string Group, string Version)> GroupVersions => _groupVersions.Select(g => (g.Group, g.Version));

    /// <summary>An aggregated document (`/api` or `/apis`).</summary>
    /// <param name="core">True for `/api`.</param>
    /// <param name="version">`v2` or `v2beta1`.</param>
    public DiscoveryDocument Aggregated(bool core, string version) =>
        _documents.GetOrAdd($"aggregated {core} {version}", _ => DiscoveryDocument.From(MakeAggregated(core, version)))!;

    /// <summary>A plain document: `/apis`, `/apis/GROUP`, `/apis/GROUP/VERSION` or `/api/v1`; null if there is no such path.</summary>
    public DiscoveryDocument? Plain(string path) =>
        _documents.TryGetValue(path, out var known) ? known : MakePlain(path) is { } json ? _documents.GetOrAdd(path, DiscoveryDocument.From(json)) : null;

    /// <summary>The plain `/api`, which names the server's own address.</summary>
    public static JsonObject CoreVersions(string serverAddress) => new()
    {
        ["kind"] = "APIVersions",
        ["versions"] = new JsonArray("v1"),
        ["serverAddressByClientCIDRs"] = new JsonArray(new JsonObject { ["clientCIDR"] = "0.0.0.0/0", ["serverAddress"] = serverAddress }),
    };

    private JsonObject? MakePlain(string path)
    {
        var parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        return parts switch
        {
            ["apis"] => new JsonObject
            {
                ["kind"] = "APIGroupList",
                ["apiVersion"] = "v1",
                ["groups"] = new JsonArray([.. Groups().Where(g => g.Name.Length > 0).Select(g => (JsonNode)GroupJson(g.Name, g.Versions))]),
            },
            ["apis", var group] when Groups().FirstOrDefault(g => g.Name == group) is { Versions.Count: > 0 } found => Group(found.Name, found.Versions),
            ["apis", var group, var version] => Resources(group, version),
            ["api", var version] => Resources("", version),
            _ => null,
        };

        static JsonObject Group(string name, IReadOnlyList<string> versions)
        {
            var json = new JsonObject { ["kind"] = "APIGroup", ["apiVersion"] = "v1" };
            foreach (var (key, value) in GroupJson(name, versions))
                json[key] = value?.DeepClone();
            return json;
        }
    }

    private IEnumerable<(string Name, IReadOnlyList<string> Versions)> Groups() =>
        _groupVersions.GroupBy(g => g.Group, StringComparer.Ordinal).Select(g => (g.Key, (IReadOnlyList<string>)[.. g.Select(v => v.Version)]));

    private static JsonObject GroupJson(string name, IReadOnlyList<string> versions)
    {
        var list = new JsonArray();
        foreach (var version in versions)
            list.Add((JsonNode)VersionJson(version));
        return new JsonObject { ["name"] = name, ["versions"] = list, ["preferredVersion"] = VersionJson(versions[0]) };

        JsonObject VersionJson(string version) => new() { ["groupVersion"] = $"{name}/{version}", ["version"] = version };
    }

    private JsonObject? Resources(string group, string version)
    {
        if (_groupVersions.FirstOrDefault(g => g.Group == group && g.Version == version) is not { } found)
            return null;
        var list = new JsonArray();
        foreach (var resource in found.Resources)
        {
            var item = new JsonObject
            {
                ["name"] = resource.Plural,
                ["singularName"] = resource.Singular,
                ["namespaced"] = resource.Namespaced,
                ["kind"] = resource.Kind,
                ["verbs"] = Strings(resource.Verbs),
            };
            if (resource.ShortNames.Count > 0)
                item["shortNames"] = Strings(resource.ShortNames);
            if (resource.Categories.Count > 0)
                item["categories"] = Strings(resource.Categories);
            if (resource.IsStored)
                item["storageVersionHash"] = StorageHash(group, version, resource.Kind);
            list.Add((JsonNode)item);
            foreach (var sub in resource.Subresources)
            {
                var entry = new JsonObject
                {
                    ["name"] = $"{resource.Plural}/{sub.Name}",
                    ["singularName"] = "",
                    ["namespaced"] = resource.Namespaced,
                };
                if (sub.Group is not null)
                    entry["group"] = sub.Group;
                if (sub.Version is not null)
                    entry["version"] = sub.Version;
                entry["kind"] = sub.Kind;
                entry["verbs"] = Strings(sub.Verbs);
                list.Add((JsonNode)entry);
            }
        }
        var json = new JsonObject { ["kind"] = "APIResourceList" };
        // The core list has no apiVersion member, the others do: clients compare neither, but goldens do.
        if (group.Length > 0)
            json["apiVersion"] = "v1";
        json["groupVersion"] = group.Length == 0 ? version : $"{group}/{version}";
        json["resources"] = list;
        return json;
    }

    private JsonObject MakeAggregated(bool core, string version)
    {
        var items = new JsonArray();
        foreach (var (name, versions) in Groups().Where(g => (g.Name.Length == 0) == core))
        {
            var list = new JsonArray();
            foreach (var groupVersion in _groupVersions.Where(g => g.Group == name))
            {
                list.Add((JsonNode)new JsonObject
                {
                    ["version"] = groupVersion.Version,
                    ["resources"] = new JsonArray([.. groupVersion.Resources.Select(r => (JsonNode)AggregatedResource(r))]),
                    ["freshness"] = "Current",
                });
            }
            var metadata = new JsonObject { ["creationTimestamp"] = null };
            if (name.Length > 0)
                metadata.Insert(0, "name", name);
            items.Add((JsonNode)new JsonObject { ["metadata"] = metadata, ["versions"] = list });
        }
        return new JsonObject
        {
            ["kind"] = "APIGroupDiscoveryList",
            ["apiVersion"] = "apidiscovery.k8s.io/" + version,
            ["metadata"] = new JsonObject(),
            ["items"] = items,
        };
    }

    private static JsonObject AggregatedResource(Entry resource)
    {
        var item = new JsonObject
        {
            ["resource"] = resource.Plural,
            ["responseKind"] = ResponseKind(resource.Kind, null, null),
            ["scope"] = resource.Namespaced ? "Namespaced" : "Cluster",
            ["singularResource"] = resource.Singular,
            ["verbs"] = Strings(resource.Verbs),
        };
        if (resource.ShortNames.Count > 0)
            item["shortNames"] = Strings(resource.ShortNames);
        if (resource.Categories.Count > 0)
            item["categories"] = Strings(resource.Categories);
        if (resource.Subresources.Count > 0)
        {
            item["subresources"] = new JsonArray([.. resource.Subresources.Select(s => (JsonNode)new JsonObject
            {
                ["subresource"] = s.Name,
                ["responseKind"] = ResponseKind(s.Kind, s.Group, s.Version),
                ["verbs"] = Strings(s.Verbs),
            })]);
        }
        return item;

        static JsonObject ResponseKind(string kind, string? group, string? version) =>
            new() { ["group"] = group ?? "", ["version"] = version ?? "", ["kind"] = kind };
    }

    private static JsonArray Strings(IReadOnlyList<string> values)
    {
        var array = new JsonArray();
        foreach (var value in values)
            array.Add((JsonNode)value);
        return array;
    }

    /// <summary>Eight bytes of a hash of what is stored; clients compare it for equality between servers only.</summary>
    private static string StorageHash(string group, string version, string kind) =>
        Convert.ToBase64String(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes($"{group}/{version}/{kind}")).AsSpan(0, 8));

    private static List<GroupVersion> Order(ResourceRegistry registry)
    {
        var entries = registry.All
            .Select(d => (d.Group, d.Version, Entry: new Entry(d.Plural, d.Singular, d.Kind, d.Namespaced, d.Verbs, d.ShortNames, d.Categories,
                [.. d.Subresources.OrderBy(s => s.Name, StringComparer.Ordinal)], IsStored: true)))
            .Concat(VirtualResource.All.Select(v => (v.Group, v.Version, Entry: new Entry(v.Plural, v.Singular, v.Kind, v.Namespaced, ["create"], [], [], [], IsStored: false))));
        // Order decides who wins a short name that two groups claim (events: the core group).
        return
        [
            .. entries.GroupBy(e => (e.Group, e.Version))
                .Select(g => new GroupVersion(g.Key.Group, g.Key.Version, [.. g.Select(e => e.Entry).OrderBy(e => e.Plural, StringComparer.Ordinal)]))
                .OrderBy(g => GroupRank(g.Group)).ThenBy(g => g.Group, StringComparer.Ordinal).ThenBy(g => g.Version, VersionOrder.Instance),
        ];
    }

    private static int GroupRank(string group)
    {
        string[] order =
        [
            "", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
            "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io",
            "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "resource.k8s.io",
            "flowcontrol.apiserver.k8s.io",
        ];
        var at = Array.IndexOf(order, group);
        return at < 0 ? order.Length : at;
    }

    private sealed record Entry(
        string Plural, string Singular, string Kind, bool Namespaced, IReadOnlyList<string> Verbs, IReadOnlyList<string> ShortNames,
        IReadOnlyList<string> Categories, IReadOnlyList<SubresourceDefinition> Subresources, bool IsStored);

    private sealed record GroupVersion(string Group, string Version, IReadOnlyList<Entry> Resources);
}

/// <summary>Order of API versions: stable before beta before alpha, higher before lower.</summary>
internal sealed class VersionOrder : IComparer<string>
{
    /// <summary>The one instance.</summary>
    public static VersionOrder Instance { get; } = new();

    /// <inheritdoc/>
    public int Compare(string? x, string? y)
    {
        var (a, b) = (Split(x ?? ""), Split(y ?? ""));
        var order = b.Stability.CompareTo(a.Stability);
        if (order == 0)
            order = b.Major.CompareTo(a.Major);
        if (order == 0)
            order = b.Minor.CompareTo(a.Minor);
        return order != 0 ? order : string.CompareOrdinal(x, y);
    }

    private static (int Stability, int Major, int Minor) Split(string version)
    {
        if (!version.StartsWith('v'))
            return (-1, 0, 0);
        var rest = version.AsSpan(1);
        var digits = rest.IndexOfAnyExceptInRange('0', '9') is var end and >= 0 ? end : rest.Length;
        if (!int.TryParse(rest[..digits], out var major))
            return (-1, 0, 0);
        rest = rest[digits..];
        if (rest.IsEmpty)
            return (2, major, 0);
        if (rest.StartsWith("beta") && int.TryParse(rest[4..], out var beta))
            return (1, major, beta);
        return rest.StartsWith("alpha") && int.TryParse(rest[5..], out var alpha) ? (0, major, alpha) : (-1, major, 0);
    }
}
