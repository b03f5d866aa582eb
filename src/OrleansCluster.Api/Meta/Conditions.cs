using System.Text.Json.Nodes;

namespace OrleansCluster.Api;

/// <summary>Conditions in a status.</summary>
public static class Conditions
{
    /// <summary>Sets a condition; its transition time moves only if the status changes.</summary>
    /// <param name="status">The object's status.</param>
    /// <param name="type">Condition type, e.g. `Ready`.</param>
    /// <param name="value">`True`, `False` or `Unknown`.</param>
    /// <param name="now">Time of the change.</param>
    /// <param name="reason">CamelCase reason, or null to have none.</param>
    /// <param name="message">Text for people, or null to have none.</param>
    /// <returns>True if anything changed.</returns>
    public static bool Set(JsonObject status, string type, string value, DateTimeOffset now, string? reason = null, string? message = null)
    {
        if (status.GetArray("conditions") is not { } conditions)
            status["conditions"] = conditions = [];
        var condition = Find(status, type);
        if (condition is null)
        {
            condition = new JsonObject { ["type"] = type };
            conditions.Add((JsonNode)condition);
        }
        if (condition.GetString("status") == value && condition.GetString("reason") == reason && condition.GetString("message") == message)
            return false;
        if (condition.GetString("status") != value)
            condition["lastTransitionTime"] = KubernetesTime.Format(now);
        condition["status"] = value;
        SetOrRemove(condition, "reason", reason);
        SetOrRemove(condition, "message", message);
        return true;
    }

    /// <summary>A condition, or null.</summary>
    public static JsonObject? Find(JsonObject? status, string type)
    {
        foreach (var (_, condition) in status.Items("conditions"))
        {
            if (condition.GetString("type") == type)
                return condition;
        }
        return null;
    }

    /// <summary>True if the condition is there and `True`.</summary>
    public static bool IsTrue(JsonObject? status, string type) => Find(status, type).GetString("status") == "True";

    private static void SetOrRemove(JsonObject condition, string member, string? value)
    {
        if (value is null)
            condition.Remove(member);
        else
            condition[member] = value;
    }
}
