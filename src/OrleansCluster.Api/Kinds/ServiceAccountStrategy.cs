using System.Text.Json;

namespace OrleansCluster.Api;

/// <summary>ServiceAccounts (v1).</summary>
internal sealed class ServiceAccountStrategy : ResourceStrategy
{
    public static ResourceDefinition Definition { get; } = new()
    {
        Group = "",
        Version = "v1",
        Kind = "ServiceAccount",
        Plural = "serviceaccounts",
        Singular = "serviceaccount",
        Namespaced = true,
        ShortNames = ["sa"],
        Columns = [new("Name", Format: "name"), new("Secrets"), new("Age")],
        DeleteReturnsObject = true,
        Strategy = new ServiceAccountStrategy(),
    };

    public override void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        row.AddName(obj);
        row.Add(obj.Count("secrets"));
        row.AddAge(obj, now);
    }
}
